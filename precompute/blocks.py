"""Computes blocks from images: decode in workers, run the teacher on the device, encode.

    requests (images, views) -> pixels, boxes -> a batch of one view -> teacher -> codec -> Block

The blocks of a group (groups.py) are made together, from images that are decoded once. A batch of
the teacher has the rows of one view of one block only, so the contents of a block follow from the
manifest and do not depend on which views are made with it, by which process or in which order. Only
the last bits of the teacher's outputs depend on the arithmetic: on a GPU, its model, TF32 and the
batch size select kernels that sum in different orders. The same flags on the same machine give the
same bytes; the receipt records the arithmetic.

With batch statistics the batches are fixed (shared/records/teacher_batches.py), and images that do
not decode are removed from their batch before the teacher sees it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from precompute.ask_teacher import ask
from precompute.groups import Group, grouped, most_views
from precompute.job import Job
from precompute.open_block import OpenBlock
from precompute.skips import Skips
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.records.block import Arithmetic, Block, Work
from shared.records.teacher_batches import batches_of
from shared.stop import check


def compute_blocks(
    job: Job,
    todo: Sequence[Work],
    skips: Skips,
    on_batch: Callable[[int], object] = lambda views: None,
) -> Iterator[Block]:
    """Yields the layers of each block in `todo`, group by group (see `grouped`).

    Calls `on_batch` with the number of views after each batch of the teacher. Raises InputError if
    more images do not decode than `skips` allows, if targets are not finite, or if a batch has too
    few images left for batch statistics.
    """
    groups = grouped(todo, most_views(job))
    yield from compute_groups(job, make_loader(job), groups, skips, on_batch)


def make_loader(job: Job) -> PixelLoader:
    return PixelLoader(
        (job.source,),
        job.manifest.size,
        job.workers,
        pin_memory=job.device.type == "cuda",
        as_jpeg=job.manifest.holds_pixels,
    )


def compute_groups(
    job: Job,
    loader: PixelLoader,
    groups: Iterable[Group],
    skips: Skips,
    on_batch: Callable[[int], object] = lambda views: None,
) -> Iterator[Block]:
    """The same for `groups`, each of which is taken just before its images are needed.

    It is taken in a thread, as the teacher would have to wait for an object store."""
    begun: deque[Group] = deque()  # groups whose images have been asked for

    def requests() -> Iterator[Request]:
        later = iter(groups)
        with ThreadPoolExecutor(1, thread_name_prefix="groups") as thread:
            group = next(later, None)
            while group is not None:
                begun.append(group)
                *most, last = _batches(job, group[0].block)
                for rows in most:
                    yield from _requests(job, group, rows)
                following = thread.submit(next, later, None)
                yield from _requests(job, group, last)
                group = following.result()

    batches = loader.batches(requests())
    for batch in batches:
        yield from _compute(job, begun.popleft(), chain([batch], batches), skips, on_batch)


def _compute(
    job: Job,
    group: Group,
    batches: Iterator[PixelBatch],
    skips: Skips,
    on_batch: Callable[[int], object],
) -> Iterator[Block]:
    opened = [OpenBlock(job, work) for work in group]
    for rows in _batches(job, group[0].block):
        views = rows.start * len(group)
        check(f"finished blocks are kept, {views} views of the open ones are not")
        parts: list[list[Tensor]] = [[] for _ in group]  # pixels of each view, on the device
        bad: list[list[int]] = [[] for _ in group]  # rows of the batch
        done = 0
        for batch in islice(batches, _parts(group, rows)):
            pixels = batch.pixels.to(job.device, non_blocking=True, copy=True)
            for place, part in enumerate(batch.by_view(len(group))):
                for row, reason in part.bad:
                    index = int(part.index[row])
                    skips.add(index, job.source.keys[index], job.source.spec, reason)
                    bad[place].append(done + row)
                opened[place].see(part)
                parts[place].append(pixels[place * len(part.index) :][: len(part.index)])
            done += len(part.index)
        for block, of_view, bad_rows in zip(opened, parts, bad, strict=True):
            seen = of_view[0] if len(of_view) == 1 else torch.cat(of_view)
            of_view.clear()
            block.hear(*ask(job, block, rows, seen, bad_rows))
            on_batch(len(rows))
    arithmetic = arithmetic_of(job.device, job.manifest.teacher_batch or job.batch_size)
    while opened:
        yield from opened.pop(0).finish(arithmetic)


def arithmetic_of(device: torch.device, batch_size: int) -> Arithmetic:
    on_gpu = device.type == "cuda"
    return Arithmetic(
        device=torch.cuda.get_device_name(device) if on_gpu else device.type,
        torch=torch.__version__,
        matmul_tf32=on_gpu and torch.backends.cuda.matmul.allow_tf32,
        cudnn_tf32=on_gpu and torch.backends.cudnn.allow_tf32,
        batch_size=batch_size,
    )


def _batches(job: Job, block: int) -> list[range]:
    """The batches of a block, as ranges of its rows."""
    rows = len(job.manifest.rows(block))
    if job.manifest.teacher_batch is not None:
        return batches_of(rows, job.manifest.teacher_batch)
    return [range(at, min(at + job.batch_size, rows)) for at in range(0, rows, job.batch_size)]


def _requests(job: Job, group: Group, rows: range) -> Iterator[Request]:
    """The requests for a batch of the teacher in each view of the group."""
    manifest = job.manifest
    first, *more = (work.view for work in group)
    draw = Draw(manifest.view_policy, manifest.seed, first, tuple(more))
    # A copy, as torch does not accept a read-only array.
    samples = manifest.samples_of(group[0].block)[rows.start : rows.stop].copy()
    for index in np.array_split(samples, _parts(group, rows)):
        yield Request(0, index, draw)


def _parts(group: Group, rows: range) -> int:
    """How many requests these are: enough that none has more pixels than a batch of one view."""
    return -(-len(rows) // max(1, len(rows) // len(group)))
