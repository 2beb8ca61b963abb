"""Chooses the views of a cache to compare with the live teacher, and makes wrong views of them."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.choices import has_one_view
from shared.errors import BadImage
from shared.images.source import ImageSource
from shared.pixels.decode import image_size
from shared.pixels.policy import draw_view
from shared.records.manifest import Manifest
from shared.records.teacher_batches import batches_of
from shared.store.opening import Arrays, Cache
from shared.store.stored_views import now_bad, stored_views, views_of

Index = NDArray[np.int64]

BATCH = 32


def spread_views(wanted: int, manifest: Manifest, skipped: set[int]) -> list[tuple[int, Index]]:
    """(view, sample indices) batches: `wanted` views spread evenly over all samples x views.

    They are in the order of the blocks, so that few batches need the same block.
    """
    samples = manifest.samples
    total = samples * manifest.views
    places = np.unique(np.arange(min(wanted, total)) * total // min(wanted, total))
    batches = []
    for view in range(manifest.views):
        mine = manifest.samples_at(places[places // samples == view] % samples)
        mine = mine[[index not in skipped for index in mine.tolist()]]
        batches += [(view, part) for part in np.split(mine, range(BATCH, len(mine), BATCH))]
    return [(view, index) for view, index in batches if len(index)]


def whole_batches(wanted: int, manifest: Manifest, skipped: set[int]) -> list[tuple[int, Index]]:
    """(view, sample indices) of whole batches as the teacher saw them, at least `wanted` views.

    They are spread evenly over the cache and include the first and the last batch."""
    size = manifest.teacher_batch
    assert size is not None
    batches = [
        (view, block, rows)
        for view in range(manifest.views)
        for block in range(manifest.blocks)
        for rows in batches_of(len(manifest.rows(block)), size)
    ]
    count = min(len(batches), max(2, -(-wanted // size)))
    chosen = []
    for place in np.linspace(0, len(batches) - 1, count).astype(int).tolist():
        view, block, rows = batches[place]
        index = manifest.samples_of(block)[rows.start : rows.stop]
        chosen.append((view, index[[sample not in skipped for sample in index.tolist()]]))
    return chosen


def field_names(cache: Cache) -> list[str]:
    return list(cache.manifest.encoding.fields())


def stored_rows(cache: Cache, view: int, index: Index) -> Arrays:
    """The stored rows of some samples in a view, of every array."""
    names = [*field_names(cache), "box", "flip", "pred"]
    places = cache.manifest.place(index)
    blocks = places // cache.manifest.block
    found: Arrays = {}
    for block in np.unique(blocks).tolist():
        inside = blocks == block
        for name, part in cache.read_block(view, block, names).items():
            rows = part[places[inside] - cache.manifest.rows(block).start]
            if name not in found:
                found[name] = np.empty((len(index), *rows.shape[1:]), rows.dtype)
            found[name][inside] = rows
    return found


def wrong_views(
    cache: Cache, view: int, source: ImageSource | None, index: list[int], pixels: Tensor
) -> Tensor:
    """Other views of the same images: the next view of a random policy, else turned by 90 degrees.

    A mirror image would not do, as teachers are trained to be invariant to it.
    """
    manifest = cache.manifest
    if manifest.holds_pixels and manifest.views > 1:
        return stack(stored_views(cache, (view + 1) % manifest.views, source, index))
    if has_one_view(manifest.policy) or source is None:
        return pixels.rot90(1, (2, 3))
    draw = partial(draw_view, manifest.view_policy, manifest.size, manifest.seed, view + 1)
    others = views_of(cache, view + 1, source)
    views = {}
    for sample in index:
        try:
            other = draw(sample, *image_size(source.read(sample)))
            views[sample] = others.replay(sample, other, None).pixels
        except BadImage as error:  # damaged below the stored view
            raise now_bad(cache, source, sample, error) from error
    return stack(views)


def stack(views: dict[int, Tensor]) -> Tensor:
    return torch.stack(list(views.values()))
