"""Reads the targets of one view of a cache with their labels, block by block, in both formats."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError
from shared.formats import webdataset_format
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
    for block in blocks:
        arrays = cache.read_block(view, block, list(names))
        samples = manifest.samples_of(block)
        left_out = [index for index, _, _ in cache.skipped_of(block)]
        rows = np.flatnonzero(~np.isin(samples, left_out))
        fields = {name: torch.from_numpy(arrays[name][rows]) for name in names}
        yield LabelledRows(samples[rows], labels[samples[rows]], fields)


def _of_shard(cache: Cache, view: int, block: int, names: Collection[str]) -> LabelledRows:
    manifest = cache.manifest
    layer_of = {name: manifest.layer_of(name) for name in names}
    layers = sorted(set(layer_of.values()) - {""})
    samples = list(shard(cache, view, block, layers))
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
    )
