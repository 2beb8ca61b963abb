"""Runs the pipeline of precompute on real images of a source, for a few seconds, and times it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch import Tensor

from precompute.blocks import compute_blocks
from precompute.groups import most_views, part_of
from precompute.job import Job
from precompute.skips import Skips
from shared.formats.format import FORMATS
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.records.block import Block, Work
from shared.targets.codecs import num_bytes

SAMPLES = 4096  # most samples used of the source
BLOCK = 2048  # most rows in a block of the measurement
ROWS = 16  # rows of the first batch; blocks are multiples of it, see shared/targets/teacher.py
LEAST_BATCH = 64  # rows: smaller batches than the run's are slower than those, larger ones are not
KEPT = 256 << 20  # bytes of rows that are kept to be encoded in blocks of the run's size


@dataclass(frozen=True)
class Pipeline:
    views: int  # number of views measured
    seconds: float  # per view: decode + teacher, with encoding in the background
    encoding: float  # seconds of one core, per view
    batch: int  # rows of the teacher's batches
    group: int  # views that were made from one decoding
    blocks: dict[str, list[Block]]  # layer -> its first blocks; those of view 0 come first
    first_view: list[dict[str, Tensor]]  # fields of the blocks of view 0 with channel means


def time_pipeline(job: Job, skip_bad: float | None, seconds: float) -> Pipeline:
    """Makes blocks for `seconds` seconds after the first ones, which are not timed."""
    job = small_job(job, seconds)
    manifest = job.manifest
    store, layers = FORMATS[manifest.format], manifest.layers
    most_rows = KEPT // max(1, num_bytes(manifest.encoding.fields()))
    todo = [
        Work(view, block, layers)
        for block in range(manifest.blocks)
        for view in range(manifest.views)
    ]

    def encode(block: Block) -> float:
        started = time.thread_time()
        store.encode(manifest, block)
        return time.thread_time() - started

    encoding: list[Future[float]] = []
    found = Pipeline(
        0, 0.0, 0.0, job.batch_size, manifest.views, {layer: [] for layer in layers}, []
    )
    views, first = 0, None
    with ThreadPoolExecutor(1) as encoder:  # beside the teacher, as in a run
        for block in compute_blocks(job, todo, Skips(skip_bad, len(job.source))):
            encoding.append(encoder.submit(encode, block))
            if sum(len(b.pred) for b in found.blocks[block.layer]) < most_rows:
                found.blocks[block.layer].append(block)
            if block.view == 0 and "channels" in manifest.kinds_of(block.layer):
                tensors = {name: torch.from_numpy(v) for name, v in block.fields.items()}
                found.first_view.append(tensors)
            if block.layer != layers[-1]:
                continue
            views += len(block.pred)
            if views % (manifest.views * manifest.block):
                continue  # the views of a group are made together
            if first is None:
                first, started = views, time.perf_counter()
            elif time.perf_counter() - started > seconds:
                break
        taken = time.perf_counter() - started
    assert first is not None
    return replace(
        found,
        views=views,
        seconds=taken / (views - first),
        encoding=sum(done.result() for done in encoding) / views,
    )


def small_job(job: Job, seconds: float) -> Job:
    """The job on a part of its source, with the views of one group, in blocks that take about a
    quarter of `seconds` each."""
    manifest = job.manifest
    views = part_of(manifest.views, most_views(job))
    source = spread_samples(job.source, SAMPLES)
    # Time one small batch to choose the size of a block.
    started = time.perf_counter()
    pixels = pixels_of(job, source, ROWS)
    pace = (time.perf_counter() - started) / ROWS / max(1, job.workers)
    pace += seconds_of(job.device, lambda: job.teacher(pixels, manifest.encoding.names), 0.0) / ROWS
    usual = min(job.batch_size, -(-manifest.block // ROWS) * ROWS)
    rows = _block_rows(seconds / pace, usual)
    views = max(1, min(views, int(seconds / pace / rows)))
    # Enough images for the first blocks and for those that are timed; a small source is repeated.
    count = rows * max(4, int(4 * seconds / pace / views / rows))
    source = taken(source, np.arange(count) % len(source))
    facts = replace(manifest.source, samples=len(source))
    small = replace(manifest, source=facts, block=rows, views=views)
    batch = min(job.batch_size, rows)
    if manifest.teacher_batch is not None:
        small = replace(small, teacher_batch=batch)
    return replace(job, manifest=small, source=source, batch_size=batch)


def _block_rows(views: float, batch: int) -> int:
    """Rows of a block, given the number of views that take as long as a measurement.

    Whole batches of the run where they do not take too long, as smaller ones may be slower."""
    rows = min(int(views / 4), BLOCK)
    if rows >= batch:
        rows = min(rows, 1024) if rows < BLOCK else BLOCK  # what zarr's blocks may have
        return rows - rows % min(rows, batch)
    return min(batch, max(LEAST_BATCH, rows - rows % ROWS))


def spread_samples(source: ImageSource, count: int) -> ImageSource:
    """At most `count` samples, ordered so that any run of them is spread over the source."""
    count = min(count, len(source))
    order = np.argsort(np.arange(count) * 0.6180339887 % 1)  # the golden ratio spreads evenly
    return taken(source, order * len(source) // count)


def taken(source: ImageSource, index: np.ndarray) -> ImageSource:
    """The source of these samples, which may be repeated."""
    return replace(
        source,
        keys=source.keys.take(index),
        labels=source.labels[index],
        reader=source.reader.take(index),
    )


def pixels_of(job: Job, source: ImageSource, rows: int) -> Tensor:
    """(rows, 3, S, S) uint8 on the device: one batch of real views."""
    manifest = job.manifest
    loader = PixelLoader((source,), manifest.size, workers=0, pin_memory=False)
    index = np.arange(rows) % len(source)
    (batch,) = loader.batches([Request(0, index, Draw(manifest.view_policy, manifest.seed, 0))])
    return batch.pixels.to(job.device)


def seconds_of(device: torch.device, step: Callable[[], object], budget: float) -> float:
    """Median seconds of a step, over `budget` seconds and at least two steps after a warm-up."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])
