"""Reads the targets of one view of a cache with their labels, block by block, in both formats."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError
from shared.formats import webdataset_format
from shared.formats.shard_samples import StoredView
from shared.pixels.mix import draw_mix
from shared.records.manifest import Manifest
from shared.store.receipt_checks import AGAIN
from shared.store.split import Cache
from shared.store.static_files import stored_labels
from shared.store.stored_views import shard


@dataclass(frozen=True)
class LabelledRows:
    """The n samples of a block, in its order, without images that do not decode."""

    index: NDArray[np.int64]  # (n,) in the source
    labels: NDArray[np.int64]  # (n,)
    fields: dict[str, Tensor]  # (n, ...) each, as stored
    # If views are mixed of two images (shared/pixels/mix.py), (n,) each: the other image's label
    # and the weight of the sample's own. A view that stayed unmixed has weight 1.
    partner: NDArray[np.int64] | None = None
    share: NDArray[np.float64] | None = None

    @property
    def main_labels(self) -> NDArray[np.int64]:
        """(n,) the labels with the larger weights."""
        if self.partner is None or self.share is None:
            return self.labels
        return np.where(self.share >= 0.5, self.labels, self.partner)


def labelled_rows(cache: Cache, view: int, names: Collection[str]) -> Iterator[LabelledRows]:
    """The named fields of every block of a view. Each file is read once.

    Raises InputError if a block is missing or damaged.
    """
    manifest = cache.manifest
    blocks = range(manifest.blocks)
    if manifest.holds_pixels:  # labels are in the shards
        yield from (_of_shard(cache, view, block, names) for block in blocks)
        return
    labels = stored_labels(cache)
    classes = len(manifest.source.classes)
    if not ((labels >= 0) & (labels < classes)).all():
        raise InputError(
            f"the labels in {cache.where} are not all of its {classes:,} classes: {AGAIN}, it "
            f"writes them again"
        )
    mixes = manifest.view_policy.mixes
    without = left_out(cache) if mixes else frozenset()
    for block in blocks:
        arrays = cache.read_block(view, block, list(names))
        samples = manifest.samples_of(block)
        skipped = [index for index, _, _ in cache.skipped_of(block)]
        rows = np.flatnonzero(~np.isin(samples, skipped))
        fields = {name: torch.from_numpy(arrays[name][rows]) for name in names}
        index = samples[rows]
        mixed = mixes_of(cache, view, index, labels, without) if mixes else ()
        yield LabelledRows(index, labels[index], fields, *mixed)


def left_out(cache: Cache) -> frozenset[int]:
    """The samples that no view has, because they did not decode."""
    return frozenset(sample for sample, _, _ in cache.skipped())


def mixes_of(
    cache: Cache,
    view: int,
    index: NDArray[np.int64],
    labels: NDArray[np.int64],
    without: Collection[int],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The labels of the partners and the weights of the own labels, for the samples in `index`.

    `labels` are those of all samples, and `without` what is `left_out`. Draws the mixes again, as a
    zarr cache does not store them.
    """
    manifest = cache.manifest
    how = manifest.view_policy.augmentation
    partner, share = labels[index].copy(), np.ones(len(index))
    if how is None or not how.mixes:
        return partner, share
    for row, sample in enumerate(index.tolist()):
        mix = draw_mix(how, manifest.seed, view, sample, manifest.samples, manifest.size)
        if mix is not None and mix.partner not in without:
            partner[row], share[row] = labels[mix.partner], mix.share
    return partner, share


def _of_shard(cache: Cache, view: int, block: int, names: Collection[str]) -> LabelledRows:
    layers = added_layers(cache.manifest, names)
    return rows_of_shard(cache.manifest, list(shard(cache, view, block, layers)), names)


def added_layers(manifest: Manifest, names: Collection[str]) -> list[str]:
    """The layers that have the named fields, but for the blocks themselves, which are always
    read."""
    return sorted({manifest.layer_of(name) for name in names} - {""})


def rows_of_shard(
    manifest: Manifest, samples: Sequence[StoredView], names: Collection[str]
) -> LabelledRows:
    """The named fields of the samples of a shard, read with the layers that have them."""
    layer_of = {name: manifest.layer_of(name) for name in names}
    tables = {}
    for layer in {*layer_of.values()}:
        dtype = webdataset_format.record_dtype(manifest, layer)
        packed = [s.layers[layer] if layer else s.targets for s in samples]
        unpacked = [webdataset_format.unpack(dtype, data) for data in packed]
        tables[layer] = np.stack(unpacked) if unpacked else np.empty(0, dtype)
    return LabelledRows(
        np.array([sample.index for sample in samples], np.int64),
        np.array([sample.label for sample in samples], np.int64),
        {name: torch.from_numpy(tables[layer][name].copy()) for name, layer in layer_of.items()},
        *_mixed_in(samples),
    )


def _mixed_in(
    samples: Sequence[StoredView],
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    mixed = [sample.mixed for sample in samples if sample.mixed is not None]
    if not mixed:
        return None, None
    return (
        np.array([label for label, _ in mixed], np.int64),
        np.array([share for _, share in mixed], np.float64),
    )
