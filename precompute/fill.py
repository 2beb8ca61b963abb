"""Makes the missing blocks of a cache, writing them in the background.

    decode workers -> teacher -> Block -> one writer thread: encode, write, receipt

At most two blocks wait for the writer, so memory stays bounded however slow the disk.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from tqdm import tqdm

from precompute.blocks import compute_blocks
from precompute.job import Job
from precompute.skips import Skips
from shared.cache.opening import Cache, keep_additions
from shared.errors import InputError
from shared.records.block import Block, Work
from shared.records.keys import key_digest
from shared.stop import StopRequest

WAITING_BLOCKS = 2


def fill(cache: Cache, job: Job, todo: Sequence[Work], skips: Skips) -> int:
    """Makes the blocks in `todo`; returns the number of views that the teacher saw.

    Raises InputError if the images no longer have the pixels from which the block of a layer was
    made, and Stopped between two batches, after writing the finished blocks.
    """
    manifest = cache.manifest
    job = replace(job, manifest=manifest)
    total = sum(len(manifest.rows(work.block)) for work in todo)
    with_base = {(work.view, work.block) for work in todo if "" in work.layers}
    waiting: deque[Future[None]] = deque()
    with (
        StopRequest(),
        tqdm(total=total, unit="img", desc="teacher", disable=None) as progress,
        ThreadPoolExecutor(1, thread_name_prefix="writer") as writer,
    ):
        for block in compute_blocks(job, todo, skips, progress.update):
            if block.layer and (block.view, block.index) not in with_base:
                _require_pixels_of_base(cache, block)
            keys = key_digest(job.source.keys, manifest.samples_of(block.index))
            waiting.append(writer.submit(cache.write, block, keys))
            if len(waiting) > WAITING_BLOCKS:
                waiting.popleft().result()
        for write in waiting:
            write.result()
    keep_additions(cache)
    return total


def _require_pixels_of_base(cache: Cache, block: Block) -> None:
    base = cache.receipt(block.view, block.index)
    if base.pixels != block.pixels:
        raise InputError(
            f"the images have other pixels than those that block {block.index} of view "
            f"{block.view} in {cache.where} was made from, so {block.layer} would be of other "
            f"views: restore the images, use the same versions ({cache.manifest.versions}), or "
            f"give another --cache"
        )
