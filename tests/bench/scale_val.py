"""Images a second in evaluation / in the forward pass of training, random pixels, no decoding.

    OMP_NUM_THREADS=1 python tests/bench/scale_val.py [--images 16] [--rounds 8] [--size 224]

ResNet-18 with 1000 classes. All ways take turns in one process; processor time, so that other work
on the machine counts little; medians of the rounds. The rows are ways to run the same evaluation,
the first of them the product's (train/accuracy.py); the last two evaluate averaged and raw weights,
in one pass over the images as the product does, and in two. Pixels are uint8 and are normalised in
each way.

One core without bf16 instructions, beside much other work, 2026-11-27, --images 8 --rounds 5, the
ways in this order: fp32 1, 1.08, 1.13, 1.19, 0.59, 0.56; bf16 1, 1.01, 0.98, 0.99, 0.50, 0.51. So
evaluation is as fast as the forward pass of training, and no other way is clearly faster.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from shared.epochs.val_batches import Labelled
from shared.models.build import build_model
from shared.pixels.normalise import NORMALISATIONS
from shared.pixels.view import new_batch
from train.accuracy import evaluate, evaluate_all
from train.step import autocast

CPU, NORMALISE = torch.device("cpu"), NORMALISATIONS["imagenet"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    flags = parser.parse_args()
    pixels = new_batch(flags.images, flags.size)
    pixels[:] = torch.randint(0, 256, pixels.shape, dtype=torch.uint8)
    labels = torch.randint(0, 1000, (flags.images,))
    model = build_model("resnet18", 1000)
    last = deepcopy(model)
    last.to(memory_format=torch.channels_last)
    raw = deepcopy(model)

    def batches() -> Iterator[Labelled]:
        yield Labelled(pixels, labels)

    def training(precision: str) -> None:
        model.train()
        with autocast(CPU, precision):
            model(NORMALISE(pixels))

    def inference(precision: str) -> None:
        with torch.inference_mode():
            evaluate(model, batches(), NORMALISE, CPU, precision=precision)

    def two_passes(precision: str) -> None:
        for each in (model, raw):
            evaluate(each, batches(), NORMALISE, CPU, precision=precision)

    ways: dict[str, Callable[[str], object]] = {
        "forward of training": training,
        "evaluation": lambda p: evaluate(model, batches(), NORMALISE, CPU, precision=p),
        "with weights channels last": lambda p: evaluate(
            last, batches(), NORMALISE, CPU, precision=p
        ),
        "in inference mode": inference,
        "averaged and raw weights": lambda p: evaluate_all(
            [model, raw], batches(), NORMALISE, CPU, precision=p
        ),
        "the same in two passes": two_passes,
    }
    print("| way | precision | images/s of processor time | / forward of training |")
    print("|---|---|---:|---:|", flush=True)
    for precision in ("fp32", "bf16"):
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(1 + flags.rounds):
            for name, way in ways.items():
                started = time.process_time()
                way(precision)
                if number:  # the first one makes what every other finds
                    seconds[name].append(time.process_time() - started)
        base = flags.images / median(seconds["forward of training"])
        for name, spent in seconds.items():
            speed = flags.images / median(spent)
            print(f"| {name} | {precision} | {speed:.1f} | {speed / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
