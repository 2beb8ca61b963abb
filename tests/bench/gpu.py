"""What the cache is worth on a GPU: images a second of training and of precompute, as tables.

    pip download -d wheels -r pyproject.toml ...            # where the GPU has no network
    pip install --no-index --find-links wheels webdataset zarr numcodecs simplejpeg braceexpand \
        fsspec tqdm matplotlib scikit-learn
    python tests/bench/gpu.py                               # all four parts, about 20 minutes
    python tests/bench/gpu.py --parts training --batch-sizes 256 --images 2048

steps       ResNet-34 -> ResNet-18 in bf16 and channels_last on pixels that lie on the GPU, compiled
            and not: the student alone (CE), cached CD + GKD with targets resident on the GPU, live
            CD + GKD with the teacher in bf16. They take turns; medians of rounds of steps.
training    the same from real JPEGs through train/run.py and its loader: photographs with a zarr
            cache, and view shards. Images a second of the last epoch, and their share of the rate
            of the same step on pixels that lie on the GPU.
precompute  tests/bench/precompute.py: a whole precompute run against the bare teacher.
tests       tests/test_cuda_*.py: memory over epochs, no waits, EMA, fp16, resuming in the middle of
            an epoch, and what the cache holds, on the real thing.

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
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from shared.device import pick_device
from shared.models.resnet import StagedResNet
from tests.bench.gpu_steps import make_steps, open_views, take_turns
from tests.bench.precompute import write_photographs
from train.names import DEFAULT_RECIPE

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("steps", "training", "precompute", "tests")


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
    add("--times", type=int, default=8, help="names that each photograph has in training")
    add("--workers", type=int, default=16)
    flags = parser.parse_args()
    device = pick_device(flags.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {flags.size} px, {time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as folder:
        if "steps" in flags.parts:
            measure_steps(Path(folder), flags, device)
        if "training" in flags.parts:
            measure_training(Path(folder), flags, device)
    if "precompute" in flags.parts:
        measure_precompute(flags)
    if "tests" in flags.parts:
        run_tests()


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


def measure_training(folder: Path, flags: argparse.Namespace, device: torch.device) -> None:
    """Through the commands, as a user types them."""
    images, teacher = folder / "images", folder / "teacher.pt"
    write_photographs(images, flags.images, classes=16)
    more_names(images / "train", flags.times)
    torch.save(StagedResNet("resnet34", 16).state_dict(), teacher)
    batch_size = min(flags.batch_sizes)
    at_best = rates_on_device(folder, flags, device, batch_size)
    place = ["--device", flags.device, "--workers", flags.workers, "--batch-size", batch_size]
    print("| input | loss | images/s | of the rate without input |")
    print("|---|---|---:|---:|", flush=True)
    for store in ("zarr", "webdataset"):
        cache = folder / store
        command(
            "precompute/run.py", "--split", "train", "--images", images, "--weights", teacher,
            "--format", store, "--cache", cache, "--views", 2, "--size", flags.size,
            "--precision", "bf16", *place,
        )  # fmt: skip
        for recipe, name in (("resnet18.ce", "CE"), (DEFAULT_RECIPE, "cached")):
            out = folder / f"{store}-{recipe}"
            command(
                "train/run.py", "--cache", cache, "--recipe", recipe, "--epochs", 3, "--out", out,
                "--precision", "bf16", *place,
            )  # fmt: skip
            lines = (out / "metrics.jsonl").read_text().splitlines()
            records = [record for record in map(json.loads, lines) if record["split"] == "train"]
            rate = records[-1]["images_per_second"]
            print(f"| {store} | {recipe} | {rate:,.0f} | {rate / at_best[name]:.3f} |", flush=True)
    print()


def more_names(folder: Path, times: int) -> None:
    """Links every file in the folders of `folder` under `times` - 1 more names, so that an epoch is
    long enough to be timed. Each name is read and decoded as any other."""
    for path in sorted(folder.glob("*/*.jpg")):
        for number in range(1, times):
            path.with_name(f"{path.stem}-{number}.jpg").hardlink_to(path)


def rates_on_device(
    folder: Path, flags: argparse.Namespace, device: torch.device, batch_size: int
) -> dict[str, float]:
    """Images a second of steps on pixels that lie on the device, eager."""
    views = open_views(folder / "synthetic", device)
    steps = make_steps(views, batch_size, flags.size, device, compiled=False)
    speeds = take_turns(steps, batch_size, flags.steps, flags.rounds, device)
    views.close()
    return speeds


def measure_precompute(flags: argparse.Namespace) -> None:
    command(
        "tests/bench/precompute.py", "--device", flags.device, "--workers", flags.workers,
        "--images", flags.images, "--batch-size", min(flags.batch_sizes), show=True,
    )  # fmt: skip


def run_tests() -> None:
    tests = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_cuda_*.py"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    print("\n".join(done.stdout.splitlines()[-15:]), flush=True)


def command(script: str, *arguments: object, show: bool = False) -> None:
    words = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    if show:
        print(done.stdout)


if __name__ == "__main__":
    main()
