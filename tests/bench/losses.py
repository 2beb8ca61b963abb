"""What every recipe's losses cost: the time of a training step / that of plain training.

    python tests/bench/losses.py [--size 224] [--batch-size 32] [--classes 1000] [--rounds 10]
        [--device cpu] [--precision fp32] [--only NAME ...]

A cache with every kind of targets that the recipes need is made by the commands, with a ResNet-34
of random weights and one image a class. Each recipe's ResNet-18 then takes steps on one batch of
it, as train/run.py does, without loading. Before each of its steps the student of CE alone takes
one, so that each ratio is of two steps that ran one after the other; the table has the median.

2026-11-27, one NVIDIA H200, torch 2.11, --batch-size 256 --precision bf16 --rounds 10, / CE:
kd.ce 1.00, cd and rcd 1.12 to 1.13, at 1.01, at.all 1.06, fitnets 1.05, rkd_at 1.89, kd.t4 1.00,
kd.ls 1.01, dkd 1.02, nkd 1.01, dist 1.01, wttm 1.00, ikl 1.01, wkd_l 1.07, l2 1.00, srrl 1.02, srd
1.01, crd 1.07, rkd 1.28, pkt 1.01, kd++ 1.00, dkd++ 1.02, cat 1.03, wkd_f 1.05, wkd_lf 1.22, simkd
1.03. A step of CE takes 20 ms. Connectors cost more there than on a CPU (1.05, step.py), because
they are many small kernels; rkd_at trains two networks that are too narrow to fill the GPU.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from shared.models.resnet import StagedResNet
from tests.helpers import write_image_folder
from tests.processes import ROOT
from train.flags import make_parser
from train.input import open_input
from train.names import RECIPES
from train.recipes import get_recipe
from train.setup import make_setup
from train.step import train_step

EPOCH = 50  # every term of every recipe has its weight here
PLAIN = "resnet18.ce"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="recipes (default: all)")
    flags = parser.parse_args()
    names = [name for name in RECIPES if "cifar" not in name and "digits" not in name]
    names = [name for name in flags.only or names if name != PLAIN]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_cache(folder, names, flags)
        plain = make_step(folder, PLAIN, flags)
        print(f"{flags.device}, {flags.precision}, batch {flags.batch_size}, {flags.size} px, "
              f"{flags.classes} classes, {torch.get_num_threads()} threads")  # fmt: skip
        print("| recipe | ms a step | / CE |\n|---|---:|---:|", flush=True)
        for name in names:
            step = make_step(folder, name, flags)
            pairs = [(seconds(plain, flags), seconds(step, flags)) for _ in range(flags.rounds + 2)]
            pairs = pairs[2:]  # kernels are chosen in the first
            ratio = median(own / ce for ce, own in pairs)
            print(f"| {name} | {1000 * median(own for _, own in pairs):.1f} | {ratio:.3f} |",
                  flush=True)  # fmt: skip


def make_cache(folder: Path, names: list[str], flags: argparse.Namespace) -> None:
    classes = flags.classes
    write_image_folder(folder / "images", classes=classes, train=1, val=1, side=64)
    torch.save(StagedResNet("resnet34", classes).state_dict(), folder / "teacher.pt")
    kinds = set[str]().union(*(get_recipe(name).kinds for name in names)) | {"logits", "channels"}
    commands = [
        f"run.py --split train --images {folder / 'images'} --weights {folder / 'teacher.pt'} "
        f"--views 1 --size {flags.size} --targets {','.join(sorted(kinds))} "
        f"--device {flags.device} --policy random-resized-crop",
        "classes.py",
    ]
    for command in commands:
        file, *rest = command.split()
        subprocess.run(
            [sys.executable, ROOT / "precompute" / file, "--cache", folder / "cache", *rest],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def make_step(folder: Path, name: str, flags: argparse.Namespace) -> Callable[[], object]:
    words = ["--recipe", name, "--cache", str(folder / "cache"), "--out", str(folder / "run")]
    words += ["--batch-size", str(flags.batch_size), "--workers", "0"]
    words += ["--device", flags.device, "--precision", flags.precision]
    if name == PLAIN:
        words += ["--teacher", "none"]
    setup = make_setup(make_parser().parse_args(words))
    feed = open_input(setup)
    pixels, batch = next(iter(feed.batches(0)))
    x = setup.normalisation(pixels)
    feed.close()
    weights = setup.recipe.weights(EPOCH)
    setup.student.train()
    return lambda: train_step(
        setup.student, setup.optimizer, setup.recipe, weights, x, batch, setup.precision
    )


def seconds(step: Callable[[], object], flags: argparse.Namespace) -> float:
    if flags.device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if flags.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
