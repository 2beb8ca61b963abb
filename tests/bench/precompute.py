"""Images a second of a whole precompute run, against the teacher's forward pass alone.

    python tests/bench/precompute.py [--images 96] [--views 1] [--rounds 3] [--device cpu]
                                     [--workers 0]

ResNet-34 at 224 px on JPEGs of ImageNet's usual 500 x 375 pixels and 100 kB, random resized crops.
A run is what precompute/run.py does: claim, decode, teacher, encode, write, fsync, receipt. The
teacher alone sees batches of the same size that lie in memory. They take turns in one process, so
that only their ratio matters: what reading, decoding and writing cost. The second ratio is that of
the processor seconds of this process, which other programs on the machine do not change.

2 cores, 2026-11-25, one view, decoded one by one: zarr 0.963 of the teacher alone (25 images/s),
view shards 0.940. 2026-11-27, --images 32 --views 4, by processor seconds: zarr 1.002, view shards
0.980.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch
from PIL import Image

from precompute.claims import Claims
from precompute.dealing import Dealer
from precompute.fill import fill
from precompute.flags import add_flags
from precompute.job import Job, make_job
from precompute.skips import Skips
from shared.distributed import World
from shared.models.resnet import StagedResNet
from shared.pixels.view import new_batch
from shared.records.block import Work
from shared.store.opening import FORMATS, create_cache

WIDTH, HEIGHT = 500, 375
NOISE = 9.0  # grey levels: makes 100 kB of the pictures below


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--images", type=int, default=96)
    add("--views", type=int, default=1)
    add("--batch-size", type=int, default=32)
    add("--rounds", type=int, default=3)
    add("--device", default="cpu")
    add("--workers", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_photographs(folder / "images", flags.images)
        torch.save(StagedResNet("resnet34", flags.images).state_dict(), folder / "teacher.pt")
        runs = {store: make_run(folder, flags, store) for store in FORMATS}
        runs["teacher alone"] = make_teacher(folder, flags)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(1 + flags.rounds):
            for name, run in runs.items():
                before = time.process_time()
                taken = run(number)
                if number:  # the first round warms up
                    seconds[name].append(taken)
                    cpu[name].append(time.process_time() - before)
    count = flags.images * flags.views
    speeds = {name: count / median(values) for name, values in seconds.items()}
    used = {name: count / median(values) for name, values in cpu.items()}
    print(
        f"{flags.images} images of {size / 1000:.0f} kB, {flags.views} views, batch "
        f"{flags.batch_size}, {flags.device}, {torch.get_num_threads()} threads, {flags.workers} "
        f"workers, medians of {flags.rounds}, load {os.getloadavg()[0]:.1f}:"
    )
    print("| | views/s | of teacher alone | by processor seconds |")
    print("|---|---:|---:|---:|")
    alone = "teacher alone"
    for name, speed in speeds.items():
        shares = f"{speed / speeds[alone]:.3f} | {used[name] / used[alone]:.3f}"
        print(f"| {name} | {speed:.1f} | {shares} |")


def make_run(folder: Path, flags: argparse.Namespace, store: str) -> Callable[[int], float]:
    job = _job(folder, flags, "--format", store)

    def run(number: int) -> float:
        head = job.teacher.head
        where = folder / f"{store}{number}"
        cache = create_cache(where, job.manifest, job.source.labels, job.source.keys, head)
        todo, skips = [Work(*unit) for unit in cache.units()], Skips(None, 0)
        dealer = Dealer(cache, job, todo, skips, (), World(), Claims(cache.files))
        started = time.perf_counter()
        fill(cache, job, todo, skips, dealer)
        return time.perf_counter() - started

    return run


def make_teacher(folder: Path, flags: argparse.Namespace) -> Callable[[int], float]:
    job = _job(folder, flags)
    side = job.manifest.size
    batch = new_batch(flags.batch_size, side).random_(0, 256)
    sizes = [
        min(flags.batch_size, flags.images - start)
        for start in range(0, flags.images, flags.batch_size)
    ]

    def run(number: int) -> float:
        started = time.perf_counter()
        for size in sizes * flags.views:
            job.teacher(batch[:size].to(job.device))
        if job.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return run


def _job(folder: Path, flags: argparse.Namespace, *more: str) -> Job:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    given = ["--split", "train", "--images", folder / "images", "--weights", folder / "teacher.pt"]
    given += ["--views", flags.views, "--device", flags.device, "--workers", flags.workers]
    given += ["--batch-size", flags.batch_size, *more]
    return make_job(parser.parse_args(list(map(str, given))))


def write_photographs(root: Path, count: int, classes: int | None = None) -> float:
    """Smooth pictures with noise; mean bytes of a file.

    An ImageFolder of `classes`, with the first two images of each in val, too; or, without val, of
    one class an image.
    """
    generator = np.random.Generator(np.random.Philox(0))
    sizes = []
    for number in range(count):
        shape = (HEIGHT, WIDTH, 3)
        pixels = NOISE * generator.standard_normal(shape)
        for coarse in (4, 8, 16, 32, 64):
            grid = generator.integers(0, 256, (coarse, coarse, 3), dtype=np.uint8)
            smooth = Image.fromarray(grid).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            pixels += np.asarray(smooth) * (2 / coarse)
        path = root / "train" / f"{number % (classes or count):05d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=95)
        if classes and number < 2 * classes:
            copy = root / "val" / path.relative_to(root / "train")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        sizes.append(path.stat().st_size)
    return float(np.mean(sizes))


if __name__ == "__main__":
    main()
