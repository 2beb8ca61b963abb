"""What the cache is worth on a GPU: images a second of training and of precompute, as tables.

    pip download -d wheels -r pyproject.toml ...            # where the GPU has no network
    pip install --no-index --find-links wheels webdataset zarr numcodecs simplejpeg braceexpand \\
        fsspec tqdm matplotlib scikit-learn
    python tests/bench/gpu.py                               # all three parts, about 15 minutes
    python tests/bench/gpu.py --parts steps --batch-sizes 256

steps       ResNet-34 -> ResNet-18 in bf16 and channels_last on pixels that lie on the GPU, compiled
            and not: the student alone (CE), cached CD + GKD with targets resident on the GPU, live
            CD + GKD with the teacher in bf16. They take turns; medians of rounds of steps.
training    the same from real JPEGs through train/run.py and its loader: photographs with a zarr
            cache, and view shards. Images a second of the second epoch.
precompute  tests/bench/precompute.py: a whole precompute run against the bare teacher.

One NVIDIA H200, torch 2.11, 2026-11-26, --parts steps --batch-sizes 256 --rounds 3, images/s:

| batch | compile | CE | cached | live | cached / CE | cached / live |
|---:|---|---:|---:|---:|---:|---:|
| 256 | False | 12,849 | 11,360 | 7,935 | 0.884 | 1.432 |
| 256 | True | 17,140 | 14,516 | 9,616 | 0.847 | 1.510 |

The connectors, which CE does not train, cost more beside it here than on a CPU (0.95).

With --device cpu and small numbers it shows that the script works, and nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from shared.cache.opening import FORMATS, create_cache
from shared.device import pick_device
from shared.distributed import World
from shared.models.resnet import StagedResNet
from shared.pixels.normalise import NORMALISATIONS
from shared.pixels.view import new_batch
from shared.targets.targets import Head
from shared.targets.teacher import Teacher
from tests.bench.precompute import write_photographs
from tests.bench.store import CLASSES, STAGES, make_block
from tests.small_cache import make_keys, make_manifest
from train.cached_views import CachedViews
from train.recipes import DEFAULT_RECIPE, get_recipe
from train.step import train_step
from train.student import build_student
from train.whole_batch import live_batch

ROOT = Path(__file__).resolve().parents[2]
EPOCH = 50  # every term of the default recipe has a weight above 0 here
PARTS = ("steps", "training", "precompute")


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS)
    add("--device", default="cuda")
    add("--batch-sizes", type=int, nargs="+", default=[256, 512, 1024])
    add("--size", type=int, default=224)
    add("--steps", type=int, default=10, help="a round")
    add("--rounds", type=int, default=5)
    add("--images", type=int, default=4096, help="photographs")
    add("--workers", type=int, default=16)
    flags = parser.parse_args()
    device = pick_device(flags.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {flags.size} px, {time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as folder:
        if "steps" in flags.parts:
            measure_steps(Path(folder), flags, device)
        if "training" in flags.parts:
            measure_training(Path(folder), flags)
    if "precompute" in flags.parts:
        measure_precompute(flags)


def measure_steps(folder: Path, flags: argparse.Namespace, device: torch.device) -> None:
    print("| batch | compile | CE | cached | live | cached / CE | cached / live |")
    print("|---:|---|---:|---:|---:|---:|---:|", flush=True)
    views = open_views(folder / "targets", device)
    for batch_size in flags.batch_sizes:
        for compiled in (False, True):
            steps = make_steps(views, batch_size, flags.size, device, compiled)
            speeds = take_turns(steps, batch_size, flags.steps, flags.rounds, device)
            row = " | ".join(f"{speed:,.0f}" for speed in speeds.values())
            ratios = (speeds["cached"] / speeds[other] for other in ("CE", "live"))
            cells = " | ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"| {batch_size} | {compiled} | {row} | {cells} |", flush=True)
    views.close()
    print()


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
    return CachedViews(cache, get_recipe(DEFAULT_RECIPE), labels, True, device)


def make_steps(
    views: CachedViews, batch_size: int, size: int, device: torch.device, compiled: bool
) -> dict[str, Callable[[], object]]:
    recipe = get_recipe(DEFAULT_RECIPE)
    generator = torch.Generator().manual_seed(0)
    pixels = new_batch(batch_size, size).random_(0, 256, generator=generator).to(device)
    labels = torch.randint(CLASSES, (batch_size,), generator=generator)
    normalise = NORMALISATIONS["imagenet"]
    teacher = Teacher(StagedResNet("resnet34", CLASSES), normalise, "bf16").to(device)
    view = views.load(0)
    samples = len(view.box)

    def make(name: str) -> Callable[[], object]:
        used = get_recipe("resnet18.ce") if name == "CE" else recipe
        channels = () if name == "CE" else STAGES
        student = build_student("resnet18", "imagenet", CLASSES, channels, seed=0).to(device)
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
                batch = views.batch(view, index, index, World())
            else:
                targets = teacher(pixels) if name == "live" else None
                batch = live_batch(targets, used, labels, World(), device)
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


def measure_training(folder: Path, flags: argparse.Namespace) -> None:
    """Through the commands, as a user types them."""
    images, teacher = folder / "images", folder / "teacher.pt"
    write_photographs(images, flags.images, classes=16)
    torch.save(StagedResNet("resnet34", 16).state_dict(), teacher)
    batch_size = min(flags.batch_sizes)
    place = ["--device", flags.device, "--workers", flags.workers, "--batch-size", batch_size]
    print("| input | loss | images/s |")
    print("|---|---|---:|", flush=True)
    for store in ("zarr", "webdataset"):
        cache = folder / store
        command(
            "precompute/run.py", "--split", "train", "--images", images, "--weights", teacher,
            "--format", store, "--cache", cache, "--views", 2, "--size", flags.size,
            "--precision", "bf16", *place,
        )  # fmt: skip
        for recipe in ("resnet18.ce", DEFAULT_RECIPE):
            out = folder / f"{store}-{recipe}"
            command(
                "train/run.py", "--cache", cache, "--recipe", recipe, "--epochs", 2, "--out", out,
                "--precision", "bf16", *place,
            )  # fmt: skip
            lines = (out / "metrics.jsonl").read_text().splitlines()
            records = [record for record in map(json.loads, lines) if record["split"] == "train"]
            print(f"| {store} | {recipe} | {records[-1]['images_per_second']:,.0f} |", flush=True)
    print()


def measure_precompute(flags: argparse.Namespace) -> None:
    command(
        "tests/bench/precompute.py", "--device", flags.device, "--workers", flags.workers,
        "--images", flags.images, "--batch-size", min(flags.batch_sizes), show=True,
    )  # fmt: skip


def command(script: str, *arguments: object, show: bool = False) -> None:
    words = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    if show:
        print(done.stdout)


if __name__ == "__main__":
    main()
