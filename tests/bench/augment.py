"""What --augment costs: views decoded a second and core with each part, against none.

    .venv/bin/python tests/bench/augment.py --images FOLDER [--views 300] [--rounds 5]

FOLDER holds image files, at any depth. Views of 224 px are drawn as precompute draws them (the
whole file is decoded), and replayed as training replays them from a zarr cache (only the rows that
are needed are). From view shards nothing is replayed, and training costs the same with any
--augment. One thread; a way's time for a view is its least over the rounds, so that what else the
machine does falls on none of them.

2026-11-27, 100 views of 200 ImageNet JPEGs, 8 rounds, EPYC, torch 2.15, other work on the machine.
Seconds a view, drawn and replayed, as multiples of those without augmentation (457 and 569 views a
second): jitter=0.4 1.57, 1.73; with hue 0.1 3.23, 3.95; randaugment=2x9 1.99, 2.19; erasing=0.25
1.12, 1.13; mixup=0.2 2.05, 2.34; cutmix=1 2.05, 2.23; the last line 3.76, 4.44. JPEGs of view
shards: 22.1 kB without, 20.7 (mixup) to 23.7 (erasing) with.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage
from shared.pixels.augmentation import parse_augmentation
from shared.pixels.decode import decode
from shared.pixels.jpeg import encode_pixels
from shared.pixels.seen import Seen, Views
from shared.pixels.view import ViewPolicy

SIZE = 224
PARTS = (
    None,
    "jitter=0.4",
    "jitter=0.4:0.4:0.4:0.1",
    "randaugment=2x9",
    "erasing=0.25",
    "mixup=0.2",
    "cutmix=1",
    "randaugment=2x9,erasing=0.25,mixup=0.2,cutmix=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--views", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    images = readable(flags.images)
    print(
        f"{len(images)} images, {flags.views} views, torch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    ways: dict[tuple[str, str], Callable[[int], Seen]] = {}
    for part in PARTS:
        how = None if part is None else parse_augmentation(part)
        policy = ViewPolicy("random-resized-crop", augmentation=how)
        views = Views(policy, SIZE, 0, 0, lambda i: images[i % len(images)], flags.views)
        boxes = [views.draw(i).view for i in range(flags.views)]
        name = part or "none"
        ways[name, "drawn"] = views.draw
        ways[name, "replayed"] = lambda i, views=views, boxes=boxes: views.replay(
            i, boxes[i], frozenset()
        )
    sizes = {
        name: np.mean([len(encode_pixels(make(i).pixels)) for i in range(flags.views)])
        for (name, kind), make in ways.items()
        if kind == "drawn"
    }
    best = {way: np.full(flags.views, np.inf) for way in ways}
    for _ in range(flags.rounds):
        for i in range(flags.views):
            for way, make in ways.items():
                started = time.perf_counter()
                make(i)
                best[way][i] = min(best[way][i], time.perf_counter() - started)
    print(
        "\n| --augment | drawn: views/s | seconds, x none | replayed: views/s | x none | JPEG, kB |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for part in PARTS:
        cells = []
        for kind in ("drawn", "replayed"):
            mean = best[part or "none", kind].mean()
            cells += [f"{1 / mean:,.0f}", f"{mean / best['none', kind].mean():.2f}"]
        print(f"| {part or 'none'} | {' | '.join(cells)} | {sizes[part or 'none'] / 1e3:.1f} |")


def readable(folder: Path) -> list[bytes]:
    images = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            decode(data)
        except BadImage:
            continue
        images.append(data)
    if not images:
        sys.exit(f"--images is a folder with images, at any depth: {folder} has none")
    return images


if __name__ == "__main__":
    main()
