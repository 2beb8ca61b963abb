"""Caches of given targets and labels, and their statistics computed slowly from the definitions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from shared.records.manifest import Manifest
from shared.store.opening import Cache, create_cache
from tests.small_cache import CLASSES, make_block, make_head, make_keys, make_manifest, put

WIDTHS = (4, 3, 2, 5)


def make_targets(samples: int, seed: int = 0) -> dict[str, Tensor]:
    """Channel means of `samples` samples, and the logits of small_cache's head."""
    generator = torch.Generator().manual_seed(seed)
    channels = torch.randn(samples, sum(WIDTHS), generator=generator).relu()
    head = make_head(width=WIDTHS[-1])
    return {
        "logits": linear(channels[:, -WIDTHS[-1] :], head.weight, head.bias),
        "channels": channels,
    }


def make_cache_of(
    folder: Path,
    outputs: Mapping[str, Tensor],
    labels: Sequence[int],
    store: str = "zarr",
    codec: str = "exact",
    left_out: Sequence[int] = (),
    **changes: object,
) -> Cache:
    """One view, in blocks of 8; the targets of a sample are `outputs` in both formats."""
    samples = len(labels)
    manifest = make_manifest(samples, 8, 1, codec, store, WIDTHS, **changes)
    head = make_head(width=WIDTHS[-1])
    cache = create_cache(folder, manifest, np.array(labels), make_keys(samples), head)
    for block in range(manifest.blocks):
        for layer in manifest.layers:
            _put(cache, manifest, outputs, labels, left_out, block, layer)
    return cache


def _put(
    cache: Cache,
    manifest: Manifest,
    targets: Mapping[str, Tensor],
    labels: Sequence[int],
    left_out: Sequence[int],
    index: int,
    layer: str,
) -> None:
    samples = manifest.samples_of(index)
    kept = ~np.isin(samples, left_out)
    kinds = manifest.kinds_of(layer)
    rows = {
        name: torch.where(_column(kept, targets[name]), targets[name][samples], 0) for name in kinds
    }
    skipped = tuple((i, f"{i}.jpg", "cut off") for i in samples[~kept].tolist())
    block = replace(
        make_block(manifest, 0, index),
        fields=manifest.encoding.encode(rows, kinds),
        label=np.array(labels)[samples],
        pred=np.where(kept, 0, -1).astype(np.int32),
        pixels={},
        skipped=skipped,
        layer=layer,
    )
    put(cache, block)


def _column(kept: np.ndarray, values: Tensor) -> Tensor:
    return torch.from_numpy(kept).reshape(-1, *[1] * (values.dim() - 1))


def slow_centres(embedding: Tensor, labels: Sequence[int]) -> Tensor:
    found = torch.zeros(CLASSES, embedding.shape[1], dtype=torch.float64)
    for label in range(CLASSES):
        rows = [embedding[i].double() for i, other in enumerate(labels) if other == label]
        if rows:
            mean = sum(rows[1:], rows[0]) / len(rows)
            found[label] = mean / mean.square().sum().sqrt()
    return found


def slow_prior(logits: Tensor, labels: Sequence[int]) -> Tensor:
    found = torch.full((CLASSES, CLASSES), 1 / CLASSES, dtype=torch.float64)
    for label in range(CLASSES):
        rows = [logits[i].double().exp() for i, other in enumerate(labels) if other == label]
        if rows:
            found[label] = sum(
                (row / row.sum() for row in rows[1:]), rows[0] / rows[0].sum()
            ) / len(rows)
    return found


def slow_distance(features: Sequence[Tensor]) -> Tensor:
    """1 - linear CKA of (N, K) features of each class, by the cross products of the columns."""
    found = torch.zeros(len(features), len(features), dtype=torch.float64)
    for i, first in enumerate(features):
        for j, second in enumerate(features):
            x, y = (f.double() - f.double().mean(1, keepdim=True) for f in (first, second))
            x, y = x - x.mean(0), y - y.mean(0)
            inner = (y.T @ x).norm() ** 2
            found[i, j] = 1 - inner / ((x.T @ x).norm() * (y.T @ y).norm())
    return found
