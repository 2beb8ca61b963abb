"""Images per second and core from encoded bytes to 224 x 224 pixels, by path.

    .venv/bin/python tests/bench/decode.py --images FOLDER [--pairs 1000] [--rounds 15]

FOLDER holds image files, at any depth. A pair is an image and one random-resized-crop view of it;
the pixels of all pairs are compared, the first TIMED are timed: every path makes the same ones, in
turn, on one thread. A path's time for a pair is its least over the rounds, so that what else the
machine does falls on none of them; the column "rounds" has each round's own ratio.

    plain        Pillow decodes all, torchvision's transforms v1 crop and resize: what everyone runs
    whole file   `decode`, `apply_to_image`
    apply        what precompute and training use: `decode_rows`, `apply_to_image`
    view shard   `decode_pixels` of the stored view (224 x 224, JPEG)

Pixels are compared before they are resized (`apply` against the whole file: equal or an error) and
after (against plain: the distribution of the difference is printed).

2026-11-25, 200 ImageNet JPEGs, EPYC (Zen 4): whole file 1.67, apply 1.96, view shard 8.93 times
plain (425 images a second and core). Before channels lay last on all the way to the network: 1.60,
1.89 and 8.10; then also on Sapphire Rapids, where Pillow is faster: 1.48, 1.68 and 6.27. Of a view
shard's 0.26 ms libjpeg-turbo takes 0.22. Against plain 97.2 % of values are equal and none differs
by more than 1 of 255.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, resized_crop

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage
from shared.pixels.decode import decode, decode_rows, image_size
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import draw_view
from shared.pixels.view import View, apply, apply_to_image

SIZE = 224
TIMED = 200  # pairs
GOALS = {"whole file": 1.4, "apply": 1.8, "view shard": 8.0}


def plain(view: View, data: bytes) -> torch.Tensor:
    image = Image.open(BytesIO(data)).convert("RGB")
    box = (view.top, view.left, view.height, view.width)
    pixels = pil_to_tensor(resized_crop(image, *box, [SIZE, SIZE]))
    return pixels.flip(-1) if view.flip else pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    pairs, skipped = draw_pairs(flags.images, flags.pairs)
    num_bytes = np.mean([len(data) for _, data in pairs])
    print(
        f"{len(pairs)} pairs, {num_bytes / 1e3:.0f} kB an image, {skipped} files skipped as bad, "
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    compare(pairs)
    pairs = pairs[:TIMED]
    stored = [encode_pixels(apply(view, data, SIZE)) for view, data in pairs]
    paths: dict[str, Callable[[int], object]] = {
        "plain": lambda i: plain(*pairs[i]),
        "whole file": lambda i: apply_to_image(pairs[i][0], decode(pairs[i][1]), SIZE),
        "apply": lambda i: apply(*pairs[i], SIZE),
        "view shard": lambda i: decode_pixels(stored[i]),
    }
    seconds = measure(paths, len(pairs), flags.rounds)
    print("\n| path | images/s and core | ratio | rounds | goal |\n|---|---|---|---|---|")
    for name, times in seconds.items():
        best = times.min(0).mean()
        ratios = seconds["plain"].mean(1) / times.mean(1)
        print(
            f"| {name} | {1 / best:,.0f} | {seconds['plain'].min(0).mean() / best:.2f} "
            f"| {ratios.min():.2f}-{ratios.max():.2f} | {GOALS.get(name, '')} |"
        )
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def draw_pairs(folder: Path, number: int) -> tuple[list[tuple[View, bytes]], int]:
    images = []
    skipped = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            decode(data)
        except BadImage:
            skipped += 1
        else:
            images.append((data, image_size(data)))
    if not images:
        sys.exit(f"--images is a folder with images, at any depth: {folder} has none")
    pairs = []
    for i in range(number):
        data, shape = images[i % len(images)]
        view = draw_view("random-resized-crop", SIZE, 0, i // len(images), i % len(images), *shape)
        pairs.append((view, data))
    return pairs, skipped


def compare(pairs: list[tuple[View, bytes]]) -> None:
    share = np.zeros(256)
    rows = needed = 0
    for view, data in pairs:
        whole = decode(data)
        top = decode_rows(data, view.top + view.height)
        assert np.array_equal(top, whole[: len(top)])
        pixels = apply(view, data, SIZE)
        assert torch.equal(pixels, apply_to_image(view, whole, SIZE))
        difference = (pixels.int() - plain(view, data).int()).abs().numpy()
        share += np.bincount(difference.ravel(), minlength=256)
        rows, needed = rows + len(whole), needed + len(top)
    share /= share.sum()
    print(
        f"equal to the whole file's before the resize; {needed / rows:.0%} of rows decoded\n"
        f"values that differ from plain's by 0, 1, 2, ...: "
        + ", ".join(f"{s:.4%}" for s in np.trim_zeros(share, "b"))
        + f"; mean {share @ np.arange(256):.4f} of 255"
    )


def measure(
    paths: dict[str, Callable[[int], object]], pairs: int, rounds: int
) -> dict[str, np.ndarray]:
    """Seconds, (rounds, pairs) for each path; one core's, whatever the machine does besides."""
    seconds = {name: np.empty((rounds, pairs)) for name in paths}
    for turn in range(rounds):
        for i in range(pairs):
            for name, path in paths.items():
                start = time.thread_time()
                path(i)
                seconds[name][turn, i] = time.thread_time() - start
    return seconds


if __name__ == "__main__":
    main()
