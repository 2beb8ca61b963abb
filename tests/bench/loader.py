"""Images per second into the training loop: torchvision's usual loader, ours, and view shards.

    python tests/bench/loader.py [--images FOLDER] [--workers 1 2] [--epochs 5] [--copies 5]

FOLDER is an ImageFolder split (class folders); without it 200 JPEGs of 500 x 375 pixels are made.
Everything is the code that train/run.py runs, on the CPU, without a network behind it: batches of
uint8 pixels with labels and targets (codec half) from a zarr cache and from view shards, against
ImageFolder + RandomResizedCrop + flip + ToTensor + Normalize. They take turns epoch by epoch in one
process; only the ratios of the medians matter.

2 cores, 2026-11-25, 200 ImageNet JPEGs, --epochs 4, with targets: zarr 2.27 times torchvision's
with 1 worker and 2.16 with 2, view shards 8.29 and 6.32 (3,500 images/s: two workers and the main
process share the two cores). Without targets 2.28, 2.06, 8.36 and 6.34: they cost 0.8 % at most.
While tarfile still read the view shards, in another run: 7.12 and 5.80.
"""

import argparse
import shutil
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
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from precompute import flags as precompute_flags
from precompute import job as precompute_job
from precompute.fill import fill
from precompute.skips import Skips
from shared.models.resnet import StagedResNet
from shared.pixels.normalise import NORMALISATIONS
from shared.records.block import Work
from shared.store.opening import create_cache
from train import flags as train_flags
from train import setup as train_setup
from train.input import open_input

BATCH = 64
Epoch = Callable[[int], int]  # epoch -> images


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--copies", type=int, default=5, help="of each image, for longer epochs")
    parser.add_argument("--size", type=int, default=224)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", flags.images, flags.copies)
        make_caches(folder, flags.size)
        for workers in flags.workers:
            measure(folder, flags.size, workers, flags.epochs)


def write_images(root: Path, images: Path | None, copies: int) -> None:
    root.mkdir()
    if images is not None:
        for file in images.glob("*/*"):
            for copy in range(copies):
                split = "train" if copy else "val"
                for place in {"train", split}:
                    target = root / place / file.parent.name / f"{copy}-{file.name}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)
        return
    generator = np.random.default_rng(0)
    for split, count in (("train", 20 * copies), ("val", 1)):
        for label in range(10):
            place = root / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
                pixels = np.asarray(Image.fromarray(coarse).resize((500, 375))).astype(np.int16)
                pixels += generator.normal(0, 12, pixels.shape).astype(np.int16)
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(place / f"{number}.jpg", quality=95)


def make_caches(folder: Path, size: int) -> None:
    classes = len(list((folder / "images" / "train").iterdir()))
    torch.save(StagedResNet("resnet18", classes).state_dict(), folder / "teacher.pt")
    for store in ("zarr", "webdataset"):
        parser = argparse.ArgumentParser()
        precompute_flags.add_flags(parser)
        flags = parser.parse_args(
            f"--split train --images {folder / 'images'} --weights {folder / 'teacher.pt'} "
            f"--teacher resnet18 --views 2 --size {size} --format {store} --block 64 "
            f"--policy random-resized-crop --cache {folder / store}".split()
        )
        job = precompute_job.make_job(flags)
        head = job.teacher.head
        cache = create_cache(flags.cache, job.manifest, job.source.labels, job.source.keys, head)
        todo = [Work(*unit) for unit in cache.units()]
        fill(cache, replace(job, batch_size=BATCH, workers=0), todo, Skips(None, 0))


def measure(folder: Path, size: int, workers: int, epochs: int) -> None:
    ways = {
        "torchvision ImageFolder, usual transforms": plain(folder, size, workers),
        "zarr cache, no targets": ours(folder, "zarr", workers, "resnet18.ce", "none"),
        "zarr cache, with targets": ours(folder, "zarr", workers),
        "view shards, no targets": ours(folder, "webdataset", workers, "resnet18.ce", "none"),
        "view shards, with targets": ours(folder, "webdataset", workers),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for epoch in range(epochs + 1):
        for name, run_epoch in ways.items():
            started = time.perf_counter()
            images = run_epoch(epoch)
            if epoch:  # the first starts the workers
                speeds[name].append(images / (time.perf_counter() - started))
    base = median(speeds["torchvision ImageFolder, usual transforms"])
    print(f"\n{workers} worker(s), batches of {BATCH}, {size} px, median of {epochs} epochs:\n")
    print("| loader | images/s | ratio |\n|---|---:|---:|")
    for name, values in speeds.items():
        print(f"| {name} | {median(values):.0f} | {median(values) / base:.2f} |")


def plain(folder: Path, size: int, workers: int) -> Epoch:
    normalisation = NORMALISATIONS["imagenet"]
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(normalisation.mean, normalisation.std),
        ]
    )
    dataset = ImageFolder(str(folder / "images" / "train"), transform)
    loader: DataLoader[tuple[torch.Tensor, torch.Tensor]] = DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epoch: sum(len(labels) for _, labels in loader)


def ours(
    folder: Path, store: str, workers: int, recipe: str = "", teacher: str = "cached"
) -> Epoch:
    parser = argparse.ArgumentParser()
    train_flags.add_flags(parser)
    flags = f"--cache {folder / store} --batch-size {BATCH} --workers {workers} --teacher {teacher}"
    flags += f" --device cpu {f'--recipe {recipe}' if recipe else ''}"
    feed = open_input(train_setup.make_setup(parser.parse_args(flags.split())))
    return lambda epoch: sum(len(batch.labels) for _, batch in feed.batches(epoch))


if __name__ == "__main__":
    main()
