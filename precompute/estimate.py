"""Estimates the disk space and the number of files of a cache before the teacher runs.

`count_files` is exact. `require_space` stops a run that will not fit on the disk, from an upper
estimate: targets count as uncompressed (`half` compresses to about 3/4), and the size of a view
shard's JPEGs is measured on a few real views. A constant would not do: JPEGs take 0.14 bytes per
pixel value for ImageNet's views at 224 px, 0.34 for digits at 32 px, 0.40 for noise at 224 px.
"""

import math
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from shared.errors import InputError
from shared.formats.format import FORMATS
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.records.block import Work
from shared.records.manifest import Manifest
from shared.store.opening import Cache
from shared.targets.codecs import num_bytes
from shared.units import size

HEAD_ROOM = 1.05
BOX, FLIP, PRED = 16, 1, 4  # bytes per view
SAMPLED_VIEWS = 32
PAGE = 4096  # bytes: file systems round file sizes up to a multiple of this
TAR_RECORD = 512  # bytes: size of a member's header, and what its contents are rounded up to


def require_space(
    cache: Cache, source: ImageSource, todo: Sequence[Work], processes: int = 1
) -> None:
    """Raises InputError unless the disk has room for the blocks in `todo`.

    Each of the `processes` is assumed to write as much as this one.
    """
    free = free_bytes(cache.files.root)
    if not todo or free == math.inf:
        return
    manifest = cache.manifest
    views = processes * sum(len(manifest.rows(work.block)) for work in todo)
    needed = 0.0
    for layers, works in groupby(sorted(todo, key=_layers), _layers):
        blocks = [work.block for work in works]
        rows = processes * sum(len(manifest.rows(block)) for block in blocks)
        pages = PAGE * processes * len(blocks) * _files_a_block(manifest, layers)
        needed += HEAD_ROOM * (most_bytes(manifest, source, rows, layers) + pages)
    if free < needed:
        raise InputError(
            f"the disk has no room for the cache: {cache.where} lacks {views:,} views of up to "
            f"{size(needed)} in all, and {size(free)} are free; make room, give a --cache on a "
            f"larger disk, a smaller --codec, fewer --views or fewer --targets "
            f"(precompute/plan.py tells sizes)"
        )


def _layers(work: Work) -> tuple[str, ...]:
    return work.layers


def count_files(manifest: Manifest) -> int:
    """The number of files in a complete split."""
    static = FORMATS[manifest.format].static_names(manifest)
    encoding = manifest.encoding
    tails = manifest.split == "train" and encoding.offers("channels")  # channels.json
    once = 2 + len(static) + encoding.derives_logits + tails  # manifest, receipts.index, head
    return once + manifest.views * manifest.blocks * _files_a_block(manifest, manifest.layers)


def free_bytes(root: Path | str) -> float:
    """Free bytes on the disk of a folder, which need not exist yet; infinite for a URL."""
    if isinstance(root, str):
        return math.inf
    folder = root.absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _files_a_block(manifest: Manifest, layers: Sequence[str]) -> int:
    """Files per block, receipts included."""
    store = FORMATS[manifest.format]
    paths = (store.array_paths(manifest, 0, 0, layer).values() for layer in layers)
    return len(layers) + sum(len(set(found)) for found in paths)


def most_bytes(
    manifest: Manifest, source: ImageSource, views: int, layers: Sequence[str] | None = None
) -> float:
    """Upper estimate of the bytes in `views` views, without compression; of all layers if None."""
    members: list[float] = []
    for layer in manifest.layers if layers is None else layers:
        fields = manifest.encoding.fields(manifest.kinds_of(layer))
        targets = num_bytes(fields)
        if not layer:
            targets += BOX + FLIP + PRED
            if manifest.holds_pixels:
                facts = 64 + len(source.keys.text) / len(source)  # index, key and label
                members += [facts, _mean_jpeg(manifest, source)]
        members.append(targets)
    records = 2 * TAR_RECORD if manifest.holds_pixels else 0
    return views * sum(size + records for size in members)


def _mean_jpeg(manifest: Manifest, source: ImageSource) -> float:
    """Mean bytes of a JPEG, from a few views spread over the source, plus two standard errors."""
    loader = PixelLoader((source,), manifest.size, workers=0, pin_memory=False, as_jpeg=True)
    count = min(SAMPLED_VIEWS, len(source))
    index = np.arange(count) * len(source) // count
    (batch,) = loader.batches([Request(0, index, Draw(manifest.view_policy, manifest.seed, 0))])
    sizes = [len(image) for image in batch.images if image]  # bad images have no JPEG
    error = stdev(sizes) / len(sizes) ** 0.5 if len(sizes) > 1 else 0.0
    return mean(sizes or [0]) + 2 * error
