"""Small caches of random numbers, made in this process without images and without a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from shared.codecs import CODECS
from shared.jpeg import encode_pixels
from shared.store.block import Block, sha256
from shared.store.cache import Cache, create_cache, head_digest
from shared.store.manifest import Manifest, SourceFacts, TeacherFacts
from shared.targets import Head, Targets

SIZE = 8  # pixels of a view
CLASSES = 3


def make_head(classes: int = CLASSES, width: int = 5) -> Head:
    generator = torch.Generator().manual_seed(classes)
    return Head(
        torch.randn(classes, width, generator=generator), torch.randn(classes, generator=generator)
    )


def make_manifest(
    samples: int = 10,
    block: int = 4,
    views: int = 2,
    codec: str = "half",
    store: str = "zarr",
    channels: tuple[int, ...] = (4, 3, 2, 5),
    **changes: Any,
) -> Manifest:
    manifest = Manifest(
        format=store,
        split="train",
        source=SourceFacts("images", samples, "d1" * 32, ("cat", "dog", "newt")),
        policy="pad-crop",
        size=SIZE,
        seed=7,
        views=views,
        interpolation="bilinear",
        antialias=True,
        decoder="pillow",
        mean=(0.5, 0.4, 0.3),
        std=(0.3, 0.2, 0.1),
        teacher=TeacherFacts(
            "resnet18",
            "cifar",
            CLASSES,
            channels,
            "teacher.pt",
            "5e" * 32,
            head_digest(make_head(width=channels[-1])),
        ),
        precision="fp32",
        codec=codec,
        codec_version=CODECS[codec].version,
        block=block,
        versions={"python": "3"},
    )
    return replace(manifest, **changes)


def make_labels(samples: int = 10) -> NDArray[np.int64]:
    return np.arange(samples) % CLASSES


def make_block(manifest: Manifest, view: int, index: int) -> Block:
    """Random numbers that depend on (view, index) alone; every channel mean is 0 or more."""
    rows = manifest.rows(index)
    generator = torch.Generator().manual_seed(1000 * view + index)
    channels = manifest.teacher.channels
    means = torch.randn(len(rows), sum(channels), generator=generator).relu()
    split = torch.split(means, list(channels), dim=1)
    head = make_head(width=channels[-1])
    targets = Targets(linear(split[-1], head.weight, head.bias), split)
    pixels = torch.randint(
        0, 256, (len(rows), 3, SIZE, SIZE), generator=generator, dtype=torch.uint8
    )
    jpegs = tuple(map(encode_pixels, pixels)) if manifest.format == "webdataset" else ()
    return Block(
        view=view,
        index=index,
        fields=CODECS[manifest.codec].encode(targets),
        box=torch.randint(-4, 60, (len(rows), 4), generator=generator, dtype=torch.int32).numpy(),
        flip=(torch.rand(len(rows), generator=generator) < 0.5).numpy(),
        pred=targets.logits.argmax(1).numpy().astype(np.int32),
        label=make_labels(manifest.samples)[rows.start : rows.stop],
        images=jpegs,
        pixels={rows.start: sha256(pixels[0].numpy().tobytes())},
        skipped=(),
    )


def open_empty(folder: Path, manifest: Manifest) -> Cache:
    head = make_head(width=manifest.teacher.channels[-1])
    return create_cache(folder, manifest, make_labels(manifest.samples), head)


def put(cache: Cache, block: Block, keys: str = "5a" * 32) -> None:
    """`keys`: the digest of its samples' keys."""
    cache.write(block, keys)


def make_cache(folder: Path, manifest: Manifest) -> Cache:
    """With every block of every view."""
    cache = open_empty(folder, manifest)
    for unit in cache.units():
        put(cache, make_block(manifest, *unit))
    return cache
