"""Measures the disk space and time of a precompute run, for precompute/plan.py.

Making a cache takes views x (decode + teacher + encode) seconds per image. An epoch of training
from it saves the teacher's forward pass, but not decoding, which a live teacher needs as well. So
the cache has paid off after

    views x pipeline seconds / teacher seconds      epochs, of one student or several together,

if training is limited by the device and not by decoding.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from precompute.blocks import compute_blocks
from precompute.job import Job
from precompute.skips import Skips
from shared.formats.format import FORMATS
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.models.build import build_model
from shared.records.block import Block, Work
from shared.records.manifest import Manifest
from shared.targets.tails import Tails, tails_of_fields

SECONDS = 4.0  # for each of the three measurements
SAMPLES = 4096  # most samples used of the source
VIEWS = 100  # most views of each sample; enough for SECONDS even with ten images
BLOCK = 2048  # most rows in a block of the measurement
ROWS = 16  # rows of the first batch; blocks are multiples of it, see shared/targets/teacher.py


@dataclass(frozen=True)
class Costs:
    """The measurements. Times are in seconds per image."""

    views: int  # number of views measured
    num_bytes: int  # per encoded view
    pipeline: float  # decode + teacher, with encoding in the background
    teacher: float  # the teacher's forward pass alone
    student: float  # ResNet-18 forward and backward
    tails: Tails | None  # of the channel means in the first view; None if they are not kept
    layers: dict[str, int]  # layer -> bytes per encoded view


def measure(job: Job, skip_bad: float | None) -> Costs:
    """Raises InputError if more than the share `skip_bad` of images (None: any) do not decode."""
    source = spread_samples(job.source, SAMPLES)
    manifest = replace(job.manifest, source=replace(job.manifest.source, samples=len(source)))
    # Time one small batch to choose a block size that fits into SECONDS.
    started = time.perf_counter()
    pixels = _pixels(manifest, source, ROWS).to(job.device)
    decoding = (time.perf_counter() - started) / ROWS
    kinds = manifest.encoding.names
    pace = _seconds(job.device, lambda: job.teacher(pixels, kinds), 0.0) / ROWS
    pace += decoding / max(1, job.workers)
    rows = ROWS * max(1, int(SECONDS / 4 / pace) // ROWS)
    block = min(rows, 1024) if rows < BLOCK else BLOCK
    batch = min(job.batch_size, block)

    # These blocks may be smaller than the run's batches, which is enough to measure a view.
    small = replace(manifest, block=block, views=VIEWS)
    if manifest.teacher_batch is not None:
        small = replace(small, teacher_batch=batch)
    small_job = replace(job, manifest=small, source=source, batch_size=batch)
    views, layers, pipeline, tails = _time_pipeline(small_job, skip_bad)
    pixels = _pixels(manifest, source, batch).to(job.device)
    teacher = _seconds(job.device, lambda: job.teacher(pixels, kinds), SECONDS) / batch
    student = _seconds(job.device, _student_step(job, pixels), SECONDS) / batch
    # The teacher is part of the pipeline, so only noise can make it slower than the whole.
    num_bytes = sum(layers.values())
    return Costs(views, num_bytes, max(pipeline, teacher), teacher, student, tails, layers)


def _time_pipeline(
    job: Job, skip_bad: float | None
) -> tuple[int, dict[str, int], float, Tails | None]:
    """(views measured, layer -> bytes per view, seconds per image, tails of the first view).

    The time of the first block is not counted."""
    manifest = job.manifest
    store, layers = FORMATS[manifest.format], manifest.layers

    def encode(block: Block) -> tuple[str, int]:
        return block.layer, sum(map(len, store.encode(manifest, block).values()))

    todo = [
        Work(view, block, layers)
        for view in range(manifest.views)
        for block in range(manifest.blocks)
    ]
    sizes: list[Future[tuple[str, int]]] = []
    first_view: list[dict[str, torch.Tensor]] = []
    views = 0
    with ThreadPoolExecutor(1) as encoder:  # beside the teacher, as in a run
        for block in compute_blocks(job, todo, Skips(skip_bad, len(job.source))):
            sizes.append(encoder.submit(encode, block))
            if block.view == 0 and "channels" in manifest.kinds_of(block.layer):
                first_view.append({k: torch.from_numpy(v) for k, v in block.fields.items()})
            if block.layer != layers[-1]:
                continue
            views += len(block.pred)
            if len(sizes) == len(layers):
                first, started = views, time.perf_counter()
            elif time.perf_counter() - started > SECONDS:
                break
    seconds = time.perf_counter() - started
    num_bytes = dict.fromkeys(layers, 0)
    for layer, size in (found.result() for found in sizes):
        num_bytes[layer] += size
    by_layer = {layer: round(size / views) for layer, size in num_bytes.items()}
    tails = None
    if first_view:
        tails = tails_of_fields(manifest.encoding, manifest.teacher.channels, first_view)
    return views, by_layer, seconds / (views - first), tails


def _student_step(job: Job, pixels: torch.Tensor) -> Callable[[], object]:
    facts = job.manifest.teacher
    student = build_model("resnet18", facts.classes, facts.stem).to(job.device)
    x = job.teacher.normalisation(pixels)
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def step() -> None:
        student.zero_grad()
        cross_entropy(student(x), labels).backward()

    return step


def _seconds(device: torch.device, step: Callable[[], object], budget: float) -> float:
    """Median seconds of a step, over `budget` seconds and at least two steps after a warm-up."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def spread_samples(source: ImageSource, count: int) -> ImageSource:
    """At most `count` samples, ordered so that any run of them is spread over the source."""
    count = min(count, len(source))
    order = np.argsort(np.arange(count) * 0.6180339887 % 1)  # the golden ratio spreads evenly
    index = order * len(source) // count
    return replace(
        source,
        keys=source.keys.take(index),
        labels=source.labels[index],
        reader=source.reader.take(index),
    )


def _pixels(manifest: Manifest, source: ImageSource, rows: int) -> torch.Tensor:
    """(rows, 3, S, S) uint8: one batch of real views."""
    loader = PixelLoader((source,), manifest.size, workers=0, pin_memory=False)
    index = np.arange(rows) % len(source)
    (batch,) = loader.batches([Request(0, index, Draw(manifest.view_policy, manifest.seed, 0))])
    return batch.pixels
