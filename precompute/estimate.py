"""What a cache takes on disk, told before the teacher has run.

`count_files` is exact. `require_space` stops a run that the disk has no room for, by an estimate
from above: targets as if nothing compressed (`half` compresses to about 3/4), the JPEGs of view
shards from a few real views. No constant would do for them: 0.14 bytes a pixel value for
ImageNet's views at 224 px, 0.34 for digits at 32 px, 0.40 for noise at 224 px.
"""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from shared.cache.manifest import Manifest
from shared.cache.opening import FORMATS, Cache
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.targets.codecs import CODECS
from shared.units import size

HEAD_ROOM = 1.05
SAMPLED_VIEWS = 32
PAGE = 4096  # bytes: what file systems round a file up to
TAR_RECORD = 512  # bytes: a member's header, and what its contents are rounded up to


def require_space(
    cache: Cache, source: ImageSource, units: Sequence[tuple[int, int]], processes: int = 1
) -> None:
    """InputError unless the disk has room for the (view, block) of `units`, which it lacks.

    Each of several `processes` is taken to write as much as this one.
    """
    free = free_bytes(cache.files.root)
    if not units or free == math.inf:
        return
    manifest = cache.manifest
    rows = processes * sum(len(manifest.rows(block)) for _, block in units)
    pages = PAGE * processes * len(units) * _files_a_block(manifest)
    needed = HEAD_ROOM * (most_bytes(manifest, source, rows) + pages)
    if free < needed:
        raise InputError(
            f"the disk must have room for the cache: {cache.where} lacks {rows:,} views of up to "
            f"{size(needed)}, and {size(free)} are free; make room, give a --cache on a "
            f"larger disk, a smaller --codec or fewer --views (precompute/plan.py tells sizes)"
        )


def count_files(manifest: Manifest) -> int:
    """Of a complete split."""
    static = FORMATS[manifest.format].static_names(manifest)
    tails = manifest.split == "train"  # channels.json
    once = 1 + len(static) + CODECS[manifest.codec].derives_logits + tails  # manifest, head
    return once + manifest.views * manifest.blocks * _files_a_block(manifest)


def free_bytes(root: Path | str) -> float:
    """Of the disk that holds a folder, or would hold it; a URL has no limit that we know of."""
    if isinstance(root, str):
        return math.inf
    folder = root.absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _files_a_block(manifest: Manifest) -> int:
    """Its receipt among them."""
    return 1 + len(set(FORMATS[manifest.format].array_paths(manifest, 0, 0).values()))


def most_bytes(manifest: Manifest, source: ImageSource, views: int) -> float:
    """Of `views` views, from above: as if nothing compressed."""
    fields = CODECS[manifest.codec].fields(manifest.teacher.classes, manifest.teacher.channels)
    box, flip, pred = 16, 1, 4
    targets = sum(np.dtype(dtype).itemsize * width for dtype, width in fields.values())
    targets += box + flip + pred
    if manifest.format == "zarr":
        return views * targets
    facts = 64 + len(source.keys.text) / len(source)  # index, key and label
    members = (facts, targets, _mean_jpeg(manifest, source))
    return views * sum(size + 2 * TAR_RECORD for size in members)


def _mean_jpeg(manifest: Manifest, source: ImageSource) -> float:
    """Bytes: of a few views spread over the source, plus two standard errors."""
    loader = PixelLoader((source,), manifest.size, workers=0, pin_memory=False, as_jpeg=True)
    count = min(SAMPLED_VIEWS, len(source))
    index = np.arange(count) * len(source) // count
    (batch,) = loader.batches([Request(0, index, Draw(manifest.policy, manifest.seed, 0))])
    sizes = [len(image) for image in batch.images if image]  # bad images have none
    error = stdev(sizes) / len(sizes) ** 0.5 if len(sizes) > 1 else 0.0
    return mean(sizes or [0]) + 2 * error
