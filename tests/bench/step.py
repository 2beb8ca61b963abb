"""Median time of a training step without a teacher, with a cached one and with a live one.

    python tests/bench/step.py [--size 224] [--batch-size 16] [--rounds 15]

ResNet-34 -> ResNet-18 with the default recipe (CD + GKD), pixels in memory, targets gathered from a
real cache of codec half. The three take turns in one process, so that only their ratios matter.
"student" is the cached step's student on targets that lie ready in memory: what is left of
cached / CE when it is taken off is the price of the connectors (4 1x1 convolutions, BatchNorms and
ReLUs that a CE student lacks), not of the cache. By multiplications alone that price is 2.8 %.

2 cores, 2026-11-25, two runs of 20 rounds: cached / CE 1.045 and 1.051, cached / student 1.009 and
1.000, live / cached 1.566 and 1.563. Before channels lay last in memory 1.055 and 1.080, 0.998 and
0.994, 1.541 and 1.483, with steps that took 1.25 times as long.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from precompute.blocks import compute_blocks
from precompute.flags import add_flags
from precompute.job import make_job
from precompute.skips import Skips
from shared.distributed import World
from shared.epochs.cached_views import CachedViews
from shared.epochs.whole_batch import live_batch
from shared.models.resnet import StagedResNet
from shared.pixels.view import new_batch
from shared.records.block import Work
from shared.records.keys import key_digest
from shared.store.opening import create_cache
from tests.helpers import write_image_folder
from tests.whole_views import whole_views
from train.batch import Batch
from train.names import DEFAULT_RECIPE
from train.recipes import get_recipe
from train.step import train_step
from train.student import StudentChoice, build_student

EPOCH = 50  # every term of the default recipe has a weight above 0 here


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = make_steps(Path(folder), flags.size, flags.batch_size)
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(flags.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: median(values) for name, values in seconds.items()}
    print(f"batch {flags.batch_size}, {flags.size} px, {torch.get_num_threads()} threads, medians:")
    for name, value in medians.items():
        print(f"  {name:7} {1000 * value:8.1f} ms a step")
    print(f"  cached / CE   {medians['cached'] / medians['CE']:.3f}")
    print(f"  cached / student {medians['cached'] / medians['student']:.3f}")
    print(f"  live / cached {medians['live'] / medians['cached']:.3f}")


def make_steps(folder: Path, size: int, batch_size: int) -> dict[str, Callable[[], object]]:
    write_image_folder(folder / "images", classes=4, train=batch_size, val=1, side=size)
    torch.save(StagedResNet("resnet34", 4).state_dict(), folder / "teacher.pt")
    parser = argparse.ArgumentParser()
    add_flags(parser)
    job = make_job(
        parser.parse_args(
            f"--split train --images {folder / 'images'} --weights {folder / 'teacher.pt'} "
            f"--views 1 --size {size} --batch-size {batch_size} --device cpu".split()
        )
    )
    cache = create_cache(
        folder / "cache", job.manifest, job.source.labels, job.source.keys, job.teacher.head
    )
    todo = [Work(*unit) for unit in cache.units()]
    for block in compute_blocks(replace(job, workers=0), todo, Skips(None, 0)):
        samples = cache.manifest.samples_of(block.index)
        cache.write(block, key_digest(job.source.keys, samples))
    recipe = get_recipe(DEFAULT_RECIPE)
    labels = torch.from_numpy(job.source.labels)
    index = torch.arange(batch_size) % len(labels)
    plans = whole_views(cache.manifest, lambda _: [index.numpy()])
    views = CachedViews(cache, recipe, labels, True, job.device, plans)
    views.begin(0)
    pixels = new_batch(batch_size, size).random_(0, 256)
    normalise = job.teacher.normalisation

    def make(name: str, channels: tuple[int, ...]) -> Callable[[], object]:
        used = get_recipe("resnet18.ce") if name == "CE" else recipe
        student = build_student(StudentChoice("resnet18", "imagenet", 4), channels, seed=0).train()
        optimizer = torch.optim.SGD(student.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)

        ready = Batch.of(views.batch(0, index))

        def step() -> object:
            if name == "student":
                batch = ready
            elif name == "cached":
                batch = Batch.of(views.batch(0, index))
            else:
                targets = job.teacher(pixels) if name == "live" else None
                found = live_batch(targets, used, labels[index], World(), job.device)
                batch = Batch.of(found)
            x = normalise(pixels)
            return train_step(student, optimizer, used, used.weights(EPOCH), x, batch, "fp32")

        return step

    channels = job.teacher.model.channels
    return {
        "CE": make("CE", ()),
        "student": make("student", channels),
        "cached": make("cached", channels),
        "live": make("live", channels),
    }


if __name__ == "__main__":
    main()
