"""How near precompute/plan.py comes to the run that follows, in bytes and in time.

    python tests/bench/scale_plan.py [--images FOLDER] [--rounds 5] [--views 4] [--limit 100] \
        [--teacher resnet18] [--size 224] [--formats zarr webdataset] [--codecs half]

Plan, run and plan again take turns in one process. A run is compared with the mean of the plans
before and after it, so that a machine that becomes faster or slower counts less. Without --images
it makes JPEGs of noise on a gradient, of 300 to 500 pixels.
"""

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from unittest import mock

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from PIL import Image

import precompute.run
from precompute.flags import make_parser
from precompute.job import make_job
from precompute.measure import measure
from precompute.prices import Prices, machine_of
from shared.machine import memory_bytes
from tests.helpers import write_teacher


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--images", type=Path)
    add("--rounds", type=int, default=5)
    add("--views", type=int, default=4)
    add("--limit", type=int, default=100)
    add("--size", type=int, default=224)
    add("--teacher", default="resnet18")
    add("--formats", nargs="+", default=["zarr", "webdataset"])
    add("--codecs", nargs="+", default=["half"])
    add("--workers", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = asked.images or write_photographs(folder / "images", asked.limit)
        classes = sum(path.is_dir() for path in (images / "train").iterdir())
        write_teacher(folder / "teacher.pt", asked.teacher, classes)
        for store in asked.formats:
            for codec in asked.codecs:
                compare(folder, asked, [
                    "--split", "train", "--images", str(images), "--limit", str(asked.limit),
                    "--teacher", asked.teacher, "--weights", str(folder / "teacher.pt"),
                    "--size", str(asked.size), "--views", str(asked.views), "--device", "cpu",
                    "--workers", str(asked.workers), "--format", store, "--codec", codec,
                ])  # fmt: skip


def compare(folder: Path, asked: argparse.Namespace, argv: list[str]) -> None:
    found = []
    before = planned(argv)
    for number in range(asked.rounds):
        cache = folder / f"cache{number}"
        seconds = run([*argv, "--cache", str(cache)])
        num_bytes = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        after = planned(argv)
        sizes = before[0] / num_bytes, after[0] / num_bytes
        found.append((mean(sizes), mean((before[1], after[1])) / seconds))
        print(
            f"  run {seconds:.1f} s, planned {before[1]:.1f} and {after[1]:.1f}; "
            f"{num_bytes:,} bytes, planned {before[0]:,.0f} and {after[0]:,.0f}; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        before = after
    ratios = [median(values) for values in zip(*found, strict=True)]
    times = ", ".join(f"{time:.2f}" for _, time in found)
    print(
        f"{argv[-3]} {argv[-1]}, {asked.teacher}, {asked.views} views: bytes {ratios[0]:.4f} of "
        f"the run's, time {ratios[1]:.2f} ({times})",
        flush=True,
    )


def planned(argv: list[str]) -> tuple[float, float]:
    """(bytes, seconds)."""
    job = make_job(make_parser("", ()).parse_args(argv))
    prices = Prices(job, measure(job, None), machine_of(job.device, memory_bytes()))
    views = job.manifest.views
    return prices.costs.size.total(views), prices.precompute(views)


def run(argv: list[str]) -> float:
    """The seconds that the command prints."""
    out = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["run.py", *argv]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        precompute.run.main()
    match = re.search(r"^done: [\d,]+ views in ([\d.]+) s", out.getvalue(), re.MULTILINE)
    assert match, out.getvalue()
    return float(match[1])


def write_photographs(root: Path, count: int) -> Path:
    generator = np.random.Generator(np.random.Philox(key=[count, 7]))
    for number in range(count):
        path = root / "train" / f"class{number % 4}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = generator.integers(300, 500, 2)
        waves = np.sin(np.linspace(0, generator.uniform(3, 30), width))[None, :, None]
        noise = generator.normal(120 + 60 * waves, generator.uniform(3, 25), (height, width, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    return root


if __name__ == "__main__":
    main()
