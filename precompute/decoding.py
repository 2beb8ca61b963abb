"""Decodes real views for a few seconds, on one core, as a loader worker does."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean
from typing import TypeVar

import numpy as np

from precompute.job import Job
from precompute.pipeline import spread_samples
from precompute.rows import alone, joined, taken
from shared.device import one_thread
from shared.formats.format import FORMATS
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from shared.pixels.jpeg import decode_pixels
from shared.records.block import Block
from shared.records.manifest import Manifest

MOST_VIEWS = 2048
A_BATCH = 16  # views
GROUP = 4  # views that are drawn from one image, to tell decoding from drawing

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoding:
    """Times are in seconds of one core."""

    image: float  # to decode an image in precompute
    drawing: float  # to draw a view from it, and to store that as a JPEG in view shards
    seeing: float  # to see a view in training: to replay it on its image, or to decode its JPEG
    source: ImageSource  # the images that were decoded
    index: list[int]  # in `source`: one per view that could be drawn
    jpegs: list[bytes]  # one per such view, if the cache stores them

    def drawn(self, group: int) -> float:
        """Per view, where `group` views are drawn from an image that is decoded once."""
        return self.image / group + self.drawing


def time_decoding(job: Job, seconds: float) -> Decoding:
    """Decodes at most MOST_VIEWS views, spread over the images, some alone and some in groups."""
    manifest = job.manifest
    policy, seed = manifest.view_policy, manifest.seed
    source = spread_samples(job.source, MOST_VIEWS)
    loader = PixelLoader(
        (source,), manifest.size, 0, pin_memory=False, as_jpeg=manifest.holds_pixels
    )
    found = Decoding(0.0, 0.0, 0.0, source, [], [])
    alone, grouped = Draw(policy, seed, 0), Draw(policy, seed, 0, tuple(range(1, GROUP)))
    times: dict[Draw, list[float]] = {alone: [], grouped: []}
    seeing: list[float] = []
    started, views = time.perf_counter(), 0
    with one_thread():
        while views < MOST_VIEWS and (not views or time.perf_counter() - started < seconds):
            for draw in times:
                images = A_BATCH // len(draw.numbers)
                index = np.arange(views, views + images) % len(source)
                request = Request(0, index, draw)
                seconds_taken, (batch,) = _timed(partial(_batches, loader, request))
                times[draw].append(seconds_taken / images)
                seeing += _seen(loader, batch, draw)
                found.index.extend(np.delete(batch.index.numpy(), _bad(batch)).tolist())
                found.jpegs.extend(image for image in batch.images if image)
                views += images
    one, several = mean(times[alone]), mean(times[grouped])
    drawing = min(max(0.0, (several - one) / (GROUP - 1)), one)
    return replace(
        found, image=one - drawing, drawing=drawing, seeing=mean(seeing) if seeing else 0.0
    )


def time_reading(manifest: Manifest, blocks: Mapping[str, Sequence[Block]]) -> float:
    """Seconds of one core to decode the targets of a view; 0 for view shards, as these are
    streamed."""
    if manifest.holds_pixels:
        return 0.0
    store, found = FORMATS[manifest.format], 0.0
    for layer in manifest.layers:
        whole = joined(blocks[layer])
        rows = taken(whole, np.arange(min(len(whole.pred), manifest.block)))
        small = alone(manifest, rows)
        files = store.encode(small, rows)
        names = list(small.encoding.fields(small.kinds_of(layer)))
        decode = partial(store.decode, small, 0, 0, names, files.__getitem__)
        found += min(_timed(decode)[0] for _ in range(3)) / max(1, len(rows.pred))
    return found


def _seen(loader: PixelLoader, batch: PixelBatch, draw: Draw) -> list[float]:
    """[seconds per view in training], for the views of a batch; [] for several per image."""
    index = np.delete(batch.index.numpy(), _bad(batch))
    if draw.more or not len(index):
        return []
    if batch.images:
        jpegs = [image for image in batch.images if image]
        return [_timed(lambda: list(map(decode_pixels, jpegs)))[0] / len(jpegs)]
    box, flip = (np.delete(values.numpy(), _bad(batch), 0) for values in (batch.box, batch.flip))
    how = Replay(draw.policy, box, flip, draw.seed, draw.number)
    return [_timed(partial(_batches, loader, Request(0, index, how)))[0] / len(index)]


def _bad(batch: PixelBatch) -> list[int]:
    return [row for row, _ in batch.bad]


def _batches(loader: PixelLoader, request: Request) -> list[PixelBatch]:
    return list(loader.batches([request]))


def _timed(call: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result
