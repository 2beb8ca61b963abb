"""Views a second into and out of a cache: write, read block by block, load a whole view.

    python tests/bench/store.py [--folder DIR] [--rounds 3]

Codec half, 1000 classes, ResNet-34's stages. The targets are random numbers that compress like a
trained network's (which take 3.0 kB a view: tests/bench/codecs.py), the view shards' JPEGs random
bytes of ImageNet's mean size. Writing is encode + hash + fsync + rename + receipt; reading checks
every hash and finds the files in the page cache. One process, medians.

2 cores, 2026-11-25: zarr 3,076 B/view, 69,000 views/s written, 119,000 read, 112,000 loaded; view
shards 26,630 B/view, 7,400, 34,000 and 33,000.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.store.opening import FORMATS, create_cache
from shared.targets.targets import Head
from tests.small_cache import make_keys, make_manifest

SAMPLES = {"zarr": 16_384, "webdataset": 4_096}
STAGES = (64, 128, 256, 512)
CLASSES = 1000
JPEG = 20_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    print("| format | samples | block | B/view | write | read by blocks | load a view | unit |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for store, samples in SAMPLES.items():
        block = FORMATS[store].DEFAULT_BLOCK
        manifest = make_manifest(samples, block, views=1, store=store, channels=STAGES)
        manifest = replace(manifest, teacher=replace(manifest.teacher, classes=CLASSES))
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            measure(Path(folder), manifest, flags.rounds)


def measure(folder: Path, manifest: Manifest, rounds: int) -> None:
    rows = manifest.samples
    head = Head(torch.zeros(CLASSES, STAGES[-1]), torch.zeros(CLASSES))
    cache = create_cache(folder, manifest, np.zeros(rows, np.int64), make_keys(rows), head)
    block = make_block(manifest)
    names = list(block.arrays())
    speeds: dict[str, list[float]] = {"write": [], "blocks": [], "view": []}
    for _ in range(rounds):
        started = time.perf_counter()
        for view, index in cache.units():
            cache.write(replace(block, view=view, index=index), keys="0" * 64)
        written = time.perf_counter()
        for view, index in cache.units():
            cache.read_block(view, index, names)
        read = time.perf_counter()
        cache.read_view(0, names)
        loaded = time.perf_counter()
        speeds["write"].append(rows / (written - started))
        speeds["blocks"].append(rows / (read - written))
        speeds["view"].append(rows / (loaded - read))
    cells = " | ".join(f"{median(values):,.0f}" for values in speeds.values())
    size = cache.num_bytes() / rows
    print(
        f"| {manifest.format} | {rows:,} | {manifest.block:,} | {size:,.0f} | {cells} | views/s |"
    )


def make_block(manifest: Manifest, classes: int = CLASSES) -> Block:
    """One block's worth; `manifest.samples` is a multiple of it."""
    rows = manifest.block
    assert manifest.samples % rows == 0
    torch.manual_seed(0)
    width = sum(STAGES)
    means = torch.exp(0.3 * torch.randn(width) + 0.2 * torch.randn(rows, width))
    logits = 2.7 * torch.randn(rows, classes)  # a trained network's deviation within a row
    logits[:, 0] += 15.0  # and its maximum
    targets = {"logits": logits, "channels": means}
    generator = np.random.Generator(np.random.Philox(0))
    jpegs = [generator.bytes(JPEG) for _ in range(rows)] if manifest.format == "webdataset" else []
    return Block(
        view=0,
        index=0,
        fields=manifest.encoding.encode(targets),
        box=generator.integers(0, 500, (rows, 4), dtype=np.int32),
        flip=generator.random(rows) < 0.5,
        pred=generator.integers(0, classes, rows, dtype=np.int32),
        label=np.zeros(rows, np.int64),
        images=tuple(jpegs),
        keys=("folder/00000.jpg",) * len(jpegs),
        pixels={},
        skipped=(),
        arithmetic=None,
    )


if __name__ == "__main__":
    main()
