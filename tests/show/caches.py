"""Small caches whose numbers are known, and the page of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from shared.records.manifest import Manifest
from shared.store.opening import Cache, create_cache
from tests.helpers import run
from tests.processes import Finished
from tests.small_cache import make_block, make_head, make_keys, make_manifest, put

SAMPLES, BLOCK, VIEWS = 30, 8, 3
LABELS = np.array([0, 0, 1, 2, 1, 0, 2, 2, 1, 0] * 3)
NAMES = ("cat", "dog", "newt")
WRONG = 17  # its label is one that the teacher never gives it
LEFT_OUT = (3, 11)
KEPT = [index for index in range(SAMPLES) if index not in LEFT_OUT]


def logits_of() -> Tensor:
    """(V, N, 3), mostly of the label; those of sample WRONG are of another class in every view."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(VIEWS, SAMPLES, 3, generator=generator)
    found = noise + 2.0 * torch.nn.functional.one_hot(torch.from_numpy(LABELS), 3)
    found[:, WRONG] = torch.tensor([9.0, 0.0, 0.0])
    return found


def make(
    folder: Path | str,
    store: str = "zarr",
    codec: str = "exact",
    left_out: Sequence[int] = LEFT_OUT,
    until: int = VIEWS,
    **changes: object,
) -> Cache:
    """A cache of `logits_of`, without the samples in `left_out` and the views from `until` on."""
    manifest = make_manifest(SAMPLES, BLOCK, VIEWS, codec, store, **changes)
    head = make_head(width=manifest.teacher.channels[-1])
    cache = create_cache(folder, manifest, LABELS, make_keys(SAMPLES), head)
    for view, index in cache.units():
        if view < until:
            put(cache, _block(manifest, view, index, left_out))
    return cache


def _block(manifest: Manifest, view: int, index: int, left_out: Sequence[int]) -> object:
    samples = manifest.samples_of(index)
    kept = torch.from_numpy(~np.isin(samples, left_out))[:, None]
    generator = torch.Generator().manual_seed(view)
    width = sum(manifest.teacher.channels)
    channels = torch.rand(SAMPLES, width, generator=generator)[samples] * kept
    logits = logits_of()[view, samples]
    if manifest.encoding.derives_logits:
        head = make_head(width=manifest.teacher.channels[-1])
        logits = linear(channels[:, -manifest.teacher.channels[-1] :], head.weight, head.bias)
    targets = {"logits": logits * kept, "channels": channels}
    made = make_block(manifest, view, index)
    return replace(
        made,
        fields=manifest.encoding.encode(targets, manifest.targets),
        label=LABELS[samples],
        pred=np.where(kept[:, 0], logits.argmax(1), -1).astype(np.int32),
        pixels={},
        skipped=tuple((i, f"{i}.jpg", "cut off") for i in samples.tolist() if i in left_out),
    )


def show(cache: Path | str, *flags: object, check: bool = True) -> Finished:
    return run("precompute/show.py", "--cache", cache, *flags, check=check)
