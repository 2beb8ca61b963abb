"""The steps that gpu.py takes time of: the student alone, from the cache, with a live teacher."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from shared.distributed import World
from shared.epochs.cached_views import CachedViews
from shared.epochs.whole_batch import live_batch
from shared.models.resnet import StagedResNet
from shared.pixels.normalise import NORMALISATIONS
from shared.pixels.view import new_batch
from shared.store.opening import FORMATS, create_cache
from shared.targets.targets import Head
from shared.targets.teacher import Teacher
from tests.bench.store import CLASSES, STAGES, make_block
from tests.small_cache import make_keys, make_manifest
from tests.whole_views import whole_views
from train.batch import Batch
from train.names import DEFAULT_RECIPE
from train.recipes import get_recipe
from train.step import train_step
from train.student import StudentChoice, build_student

EPOCH = 50  # every term of the default recipe has a weight above 0 here


def open_views(folder: Path, device: torch.device) -> CachedViews:
    """A real cache of 8 blocks in codec half, with targets that no teacher said."""
    block = FORMATS["zarr"].DEFAULT_BLOCK
    manifest = make_manifest(8 * block, block, views=1, store="zarr", channels=STAGES)
    manifest = replace(manifest, teacher=replace(manifest.teacher, classes=CLASSES))
    head = Head(torch.zeros(CLASSES, STAGES[-1]), torch.zeros(CLASSES))
    cache = create_cache(
        folder, manifest, np.zeros(manifest.samples, np.int64), make_keys(manifest.samples), head
    )
    made = make_block(manifest)
    for view, index in cache.units():
        cache.write(replace(made, view=view, index=index), keys="0" * 64)
    labels = torch.zeros(manifest.samples, dtype=torch.int64)
    every = np.arange(manifest.samples)
    plans = whole_views(manifest, lambda _: [every])
    recipe = replace(get_recipe(DEFAULT_RECIPE), epochs=1)
    return CachedViews(cache, recipe, labels, True, device, plans)


def make_steps(
    views: CachedViews, batch_size: int, size: int, device: torch.device, compiled: bool
) -> dict[str, Callable[[], object]]:
    recipe = get_recipe(DEFAULT_RECIPE)
    generator = torch.Generator().manual_seed(0)
    pixels = new_batch(batch_size, size).random_(0, 256, generator=generator).to(device)
    labels = torch.randint(CLASSES, (batch_size,), generator=generator)
    normalise = NORMALISATIONS["imagenet"]
    teacher = Teacher(StagedResNet("resnet34", CLASSES), normalise, "bf16").to(device)
    views.begin(0)
    samples = 8 * FORMATS["zarr"].DEFAULT_BLOCK

    def make(name: str) -> Callable[[], object]:
        used = get_recipe("resnet18.ce") if name == "CE" else recipe
        channels = () if name == "CE" else STAGES
        student = build_student(
            StudentChoice("resnet18", "imagenet", CLASSES), channels, seed=0
        ).to(device)
        student.train()
        fused = device.type == "cuda"
        optimizer = torch.optim.SGD(
            student.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, fused=fused
        )
        if compiled:
            student.compile()

        def step() -> object:
            if name == "cached":
                index = torch.randint(samples, (batch_size,))
                batch = Batch.of(replace(views.batch(0, index), count=batch_size))
            else:
                targets = teacher(pixels) if name == "live" else None
                batch = Batch.of(live_batch(targets, used, labels, World(), device))
            x = normalise(pixels)
            return train_step(student, optimizer, used, used.weights(EPOCH), x, batch, "bf16")

        return step

    return {name: make(name) for name in ("CE", "cached", "live")}


def take_turns(
    steps: dict[str, Callable[[], object]],
    batch_size: int,
    count: int,
    rounds: int,
    device: torch.device,
) -> dict[str, float]:
    """Images a second of each: the median of `rounds` rounds of `count` steps, after one more."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(1 + rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(count):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:  # the first round compiles and warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: batch_size * count / median(values) for name, values in seconds.items()}
