"""Small caches of random numbers, made in this process without images and without a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from shared.images.listing import Keys
from shared.pixels.jpeg import encode_pixels
from shared.records.block import Arithmetic, Block, sha256
from shared.records.keys import key_digest
from shared.records.manifest import Manifest, SourceFacts, TeacherFacts
from shared.records.manifest_schema import FORMAT_VERSION, ORDERS
from shared.store.opening import Cache, create_cache, head_digest
from shared.targets.codecs import CODECS
from shared.targets.targets import Head
from tests.said import said

SIZE = 8  # pixels of a view
CLASSES = 3
ARITHMETIC = Arithmetic("cpu", "2", False, False, 4)


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
        format_version=FORMAT_VERSION,
        format=store,
        order=ORDERS[store],
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


def batch_manifest(**changes: Any) -> Manifest:
    """Of a teacher that used the statistics of batches of 4."""
    facts = {"block": 8, "store": "webdataset", "statistics": "batch", "teacher_batch": 4}
    return make_manifest(**{**facts, **changes})


def any_teacher() -> TeacherFacts:
    """One that differs from a ResNet in every fact."""
    return replace(
        make_manifest().teacher,
        architecture="own.py:network",
        embedding=7,
        linear=False,
        signed=True,
        stage_modules=("a", "b", "c", "d"),
        class_map=(2, 1, 0),
        rows="near",
    )


def version_1(manifest: Manifest) -> Manifest:
    """As the first version of the format had it."""
    return replace(manifest, format_version=1, order="source")


def make_labels(samples: int = 10) -> NDArray[np.int64]:
    return np.arange(samples) % CLASSES


def make_keys(samples: int = 10) -> Keys:
    return Keys.pack(f"class{index % CLASSES}/{index:05d}.jpg" for index in range(samples))


def make_block(manifest: Manifest, view: int, index: int, layer: str = "") -> Block:
    """Random numbers that depend on (view, index, layer) alone; those of every kind but the logits
    are 0 or more."""
    samples = manifest.samples_of(index)
    rows = len(samples)
    generator = torch.Generator().manual_seed(1000 * view + index)
    channels = manifest.teacher.channels
    means = torch.randn(rows, sum(channels), generator=generator).relu()
    split = torch.split(means, list(channels), dim=1)
    head = make_head(width=channels[-1])
    targets = said(linear(split[-1], head.weight, head.bias), split)
    pixels = torch.randint(0, 256, (rows, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    shards, keys = manifest.format == "webdataset", make_keys(manifest.samples)
    jpegs = tuple(map(encode_pixels, pixels)) if shards else ()
    block = Block(
        view=view,
        index=index,
        fields=manifest.encoding.encode(targets, manifest.targets),
        box=torch.randint(
            -4, 60, (len(samples), 4), generator=generator, dtype=torch.int32
        ).numpy(),
        flip=(torch.rand(rows, generator=generator) < 0.5).numpy(),
        pred=targets["logits"].argmax(1).numpy().astype(np.int32),
        label=make_labels(manifest.samples)[samples],
        images=jpegs,
        keys=tuple(keys[sample] for sample in samples.tolist()) if shards else (),
        pixels={int(samples[0]): sha256(pixels[0].numpy().tobytes())},
        skipped=(),
        arithmetic=ARITHMETIC,
    )
    if not layer:
        return block
    added = {layer: torch.rand(rows, *manifest.added[layer], generator=generator)}
    return replace(block, fields=manifest.encoding.encode(added, [layer]), layer=layer)


def open_empty(folder: Path, manifest: Manifest) -> Cache:
    head = make_head(width=manifest.teacher.channels[-1])
    samples = manifest.samples
    return create_cache(folder, manifest, make_labels(samples), make_keys(samples), head)


def put(cache: Cache, block: Block, keys: str | None = None) -> None:
    """`keys`: the digest of its samples' keys."""
    samples = cache.manifest.samples_of(block.index)
    cache.write(block, keys or key_digest(make_keys(cache.manifest.samples), samples))


def make_cache(folder: Path, manifest: Manifest) -> Cache:
    """With every block of every view, and all its layers."""
    cache = open_empty(folder, manifest)
    for unit in cache.units():
        for layer in manifest.layers:
            put(cache, make_block(manifest, *unit, layer))
    return cache
