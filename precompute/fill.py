"""Fills a cache with the blocks that it lacks, writing in the background.

    decode workers -> teacher -> Block -> one writer thread: encode, write, receipt

At most two blocks wait for the writer, so memory stays bounded however slow the disk.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from tqdm import tqdm

from precompute.blocks import compute_blocks
from precompute.skips import Skips
from shared.cache.keys import key_digest
from shared.cache.opening import Cache, keep_views
from shared.images.source import ImageSource
from shared.stop import StopRequest
from shared.targets.teacher import Teacher

WAITING_BLOCKS = 2


def fill(
    cache: Cache,
    source: ImageSource,
    teacher: Teacher,
    units: Sequence[tuple[int, int]],
    batch_size: int,
    workers: int,
    device: torch.device,
    skips: Skips,
) -> int:
    """Makes the block of each (view, block) of `units`; returns the number of views made.

    Raises: Stopped between two batches; what was finished before is written.
    """
    manifest = cache.manifest
    total = sum(len(manifest.rows(block)) for _, block in units)
    waiting: deque[Future[None]] = deque()
    with (
        StopRequest(),
        tqdm(total=total, unit="img", desc="teacher", disable=None) as progress,
        ThreadPoolExecutor(1, thread_name_prefix="writer") as writer,
    ):
        blocks = compute_blocks(
            manifest, source, teacher, units, batch_size, workers, device, skips, progress.update
        )
        for block in blocks:
            keys = key_digest(source.keys, manifest.samples_of(block.index))
            waiting.append(writer.submit(cache.write, block, keys))
            if len(waiting) > WAITING_BLOCKS:
                waiting.popleft().result()
        for write in waiting:
            write.result()
    keep_views(cache)
    return total
