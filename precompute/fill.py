"""Makes the missing blocks of a cache, writing them in the background.

    decode workers -> teacher -> Block -> one writer thread: encode, write, receipt

At most two blocks, or those of one group, wait for the writer, so memory stays bounded however slow
the disk.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from tqdm import tqdm

from precompute.blocks import compute_groups, make_loader
from precompute.dealing import Dealer, OnlyHere
from precompute.groups import most_views
from precompute.job import Job
from precompute.skips import Skips
from shared.errors import InputError
from shared.records.block import Block, Work
from shared.stop import StopRequest
from shared.store.opening import Cache, keep_additions

WAITING_BLOCKS = 2


def fill(
    cache: Cache, job: Job, todo: Sequence[Work], skips: Skips, dealer: Dealer | None = None
) -> int:
    """Makes the blocks in `todo`, or those that the dealer deals to this process; returns the
    number of views that the teacher saw.

    Raises InputError if the images no longer have the pixels from which the block of a layer was
    made, and Stopped between two batches, after writing the finished blocks.
    """
    manifest = cache.manifest
    if not todo:
        keep_additions(cache)
        return 0
    job = replace(job, manifest=manifest)
    total = sum(len(manifest.rows(work.block)) for work in todo)
    with_base = {(work.view, work.block) for work in todo if "" in work.layers}
    seen = 0
    waiting: deque[Future[None]] = deque()
    most_waiting = max(WAITING_BLOCKS, most_views(job))
    loader = make_loader(job)
    loader.start()  # before there are threads, which a fork may catch in the middle of anything

    def write(block: Block) -> None:
        cache.write(block, cache.keys_of(job.source, block.index))
        dealt.finished(block)

    with (
        StopRequest(),
        tqdm(total=total, unit="img", desc="teacher", disable=None) as progress,
        dealer or OnlyHere(job, todo) as dealt,
        ThreadPoolExecutor(1, thread_name_prefix="writer") as writer,
    ):

        def on_batch(views: int) -> None:
            nonlocal seen
            seen += views
            progress.total = total - dealt.made_elsewhere
            progress.update(views)

        more = True
        while more:
            for block in compute_groups(job, loader, dealt.groups(), skips, on_batch):
                if block.layer and (block.view, block.index) not in with_base:
                    _require_pixels_of_base(cache, block)
                waiting.append(writer.submit(write, block))
                if len(waiting) > most_waiting:
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()
            more = dealt.more()
    keep_additions(cache)
    return seen


def _require_pixels_of_base(cache: Cache, block: Block) -> None:
    base = cache.receipt(block.view, block.index)
    if base.pixels != block.pixels:
        raise InputError(
            f"the images have other pixels than those that block {block.index} of view "
            f"{block.view} in {cache.where} was made from, so {block.layer} would be of other "
            f"views: restore the images, use the same versions ({cache.manifest.versions}), or "
            f"give another --cache"
        )
