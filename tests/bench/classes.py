"""Time and memory of precompute/classes.py on a cache of the size of ImageNet.

    python tests/bench/classes.py [--folder DIR] [--classes 1000] [--each 1281] [--compared 732]

Format zarr, codec half, ResNet-34's stages, random targets that share their main directions as a
trained network's do. The command runs in a process of its own.

2 cores, 2026-11-27, beside other work: 318 s, of which 92 s of CPU; peak 4.33 GB. The distances
are 0.966 on average, as those published for ResNet-34, though all classes here are alike.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.store.opening import create_cache
from tests.small_cache import ARITHMETIC, make_keys, make_manifest, put

STAGES = (64, 128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the cache is made (default: the system's own)")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--each", type=int, default=1281, help="samples of each class")
    parser.add_argument("--compared", type=int, default=732)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        make(Path(folder), flags.classes, flags.each)
        started = time.perf_counter()
        script = Path(__file__).resolve().parents[2] / "precompute" / "classes.py"
        most = str(flags.compared)
        process = subprocess.Popen(
            [sys.executable, script, "--cache", folder, "--samples-per-class", most]
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    assert status == 0
    print(
        f"{flags.classes} classes x {flags.each}: {seconds:.0f} s ({usage.ru_utime:.0f} s of CPU), "
        f"peak {usage.ru_maxrss / 1e6:.2f} GB"
    )


def make(folder: Path, classes: int, each: int) -> None:
    samples = classes * each
    manifest = make_manifest(samples, 8192, 1, channels=STAGES)
    names = tuple(f"class{label:04d}" for label in range(classes))
    manifest = replace(
        manifest,
        source=replace(manifest.source, classes=names),
        teacher=replace(manifest.teacher, classes=classes),
    )
    labels = np.arange(samples) // each
    cache = create_cache(folder, manifest, labels, make_keys(samples), None)
    for index in range(manifest.blocks):
        put(cache, block_of(manifest, index, labels), "0" * 64)
    os.sync()


def block_of(manifest: Manifest, index: int, labels: np.ndarray) -> Block:
    samples = manifest.samples_of(index)
    rows, classes = len(samples), manifest.teacher.classes
    generator = torch.Generator().manual_seed(index)
    weight = torch.randn(512, classes, generator=torch.Generator().manual_seed(0)) / 512**0.5
    falling = (
        5 * torch.arange(1, 513).rsqrt()
    )  # the spread of the directions of a network's answers
    means = torch.randn(rows, sum(STAGES), generator=generator).relu()
    means[:, -512:] *= falling
    logits = means[:, -512:] @ weight
    logits[torch.arange(rows), torch.from_numpy(labels[samples])] += 8
    return Block(
        view=0,
        index=index,
        fields=manifest.encoding.encode({"logits": logits, "channels": means}),
        box=np.zeros((rows, 4), np.int32),
        flip=np.zeros(rows, bool),
        pred=logits.argmax(1).numpy().astype(np.int32),
        label=labels[samples],
        images=(),
        keys=(),
        pixels={},
        skipped=(),
        arithmetic=ARITHMETIC,
    )


if __name__ == "__main__":
    main()
