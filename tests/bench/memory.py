"""Memory of a training run over its epochs, and the seconds from its start to its first step.

    python tests/bench/memory.py [--epochs 20] [--views 8] [--workers 2]

`train/run.py` on noise images of 64 px with both formats, watched from outside: resident memory of
the process and its workers whenever an epoch has ended. Then, on `digits` with one view and with
--views, the seconds until the first step is done (a checkpoint after it shows that).

2 cores, 2026-11-25: last / epoch 1 of 20 is 0.988 (zarr) and 1.005 (view shards); 8.0 to 8.3 s to
the first step on an idle machine, with 1, 8 and 32 views.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from shared.models.resnet import StagedResNet
from tests.helpers import write_image_folder

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image_folder(folder / "images", classes=10, train=60, val=2, side=72)
        torch.save(StagedResNet("resnet18", 10).state_dict(), folder / "teacher.pt")
        print("| format | MB after epoch 1 | half-way | last | last / epoch 1 |")
        print("|---|---:|---:|---:|---:|", flush=True)
        for store in ("zarr", "webdataset"):
            make_cache(folder / store, folder, "images", 64, 2, "--format", store)
            megabytes = watch(folder / store, folder / f"run-{store}", flags)
            cells = [megabytes[1], megabytes[len(megabytes) // 2], megabytes[-1]]
            row = " | ".join(f"{value:,.0f}" for value in cells)
            print(f"| {store} | {row} | {cells[-1] / cells[0]:.3f} |", flush=True)
        for views in (1, flags.views):
            cache = folder / f"digits{views}"
            make_cache(cache, folder, "digits", 32, views)
            seconds = seconds_to_first_step(cache, folder / f"start{views}")
            print(f"digits, {views} views: {seconds:.1f} s from start to first step", flush=True)


def make_cache(
    cache: Path, folder: Path, images: str, size: int, views: int, *more: object
) -> None:
    source = images if images == "digits" else folder / images
    words = [
        *("precompute/run.py", "--split", "train", "--images", source, "--cache", cache),
        *("--teacher", "resnet18", "--weights", folder / "teacher.pt", "--device", "cpu"),
        *("--views", views, "--size", size, "--policy", "pad-crop", *more),
    ]
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True, capture_output=True)


def start(cache: Path, out: Path, *more: object) -> "subprocess.Popen[bytes]":
    words = ["train/run.py", "--cache", cache, "--out", out, "--device", "cpu", "--lr", 0.01, *more]
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def watch(cache: Path, out: Path, flags: argparse.Namespace) -> list[float]:
    """Megabytes at the end of each epoch."""
    process = start(
        *(cache, out, "--epochs", flags.epochs, "--batch-size", 50, "--workers", flags.workers)
    )
    megabytes: list[float] = []
    while process.poll() is None:
        time.sleep(0.02)
        lines = out / "metrics.jsonl"
        if lines.exists() and lines.read_text().count("\n") // 2 > len(megabytes):
            megabytes.append(resident(process.pid))
    assert process.returncode == 0
    return megabytes


def resident(pid: int) -> float:
    """Megabytes of a process and its children (Linux); shared pages count in each."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if str(pid) in (status.parent.name, fields["PPid"].strip()) and "VmRSS" in fields:
            total += int(fields["VmRSS"].split()[0]) / 1024
    return total


def seconds_to_first_step(cache: Path, out: Path) -> float:
    started = time.perf_counter()
    process = start(cache, out, "--epochs", 1, "--batch-size", 32, "--checkpoint-every", 1)
    while process.poll() is None and not (out / "last.pt").exists():
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    process.kill()
    process.wait()
    assert (out / "last.pt").exists()
    return seconds


if __name__ == "__main__":
    main()
