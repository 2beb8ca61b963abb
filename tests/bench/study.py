"""The field's standard pair on CIFAR-100, from one cache: which losses help, and does live differ?

    python tests/bench/study.py --images DIR --weights FILE --work DIR [--part losses|live|views]

DIR holds train/<class>/*.png and test/<class>/*.png (CIFAR-100 as PNG files); FILE has the weights
of a cifar_resnet56 for it. Everything goes through the product's commands: one cache with codec
half, pad-crop views and the targets of all recipes, then one train/run.py for each arm and seed,
--jobs at a time. It may be stopped and started again; a run that is done is not made again. At the
end, and with --only-table at any time, it prints the tables.

    losses  every recipe of train/cifar_recipes.py
    live    KD and CD with the teacher live, on the views of the cache
    views   KD and CD for a cifar_resnet8, which is three times as fast, from 1 to 40 views

Students learn from --per-class images a class and are judged on all 10,000 test images. The
defaults are what two CPU cores can do; on a GPU give --per-class 500 --epochs 240. --recipes
chooses some of the losses, by the last parts of their names (ce kd cd.ce), and --views is that of
the cache for `losses` and `live`.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.bench.study_table import print_tables
from train.cifar_recipes import CIFAR_PAIR

ROOT = Path(__file__).resolve().parents[2]
TAUGHT = "cifar.s_resnet20.t_resnet56."
LOSSES = tuple(recipe.name for recipe in CIFAR_PAIR)
PAIRED = (f"{TAUGHT}kd", f"{TAUGHT}cd.ce")  # with the teacher live, and for the number of views
VIEWS = (1, 2, 4, 8, 16, 40)
SMALLEST = "cifar_resnet8"
KINDS = "logits,channels,embedding,attention1,attention2,attention3"
# What this teacher was trained with (HyunJunSik/StreamLined, CIFAR-100/Utils/SDD_train.py).
NORMALISED = ["--mean", "0.5071,0.4867,0.4408", "--std", "0.2675,0.2565,0.2761"]


def choose_images(source: Path, to: Path, per_class: int) -> None:
    """Hard links to the same `per_class` training images of each class every time, and to all of
    the test images."""
    for folder in sorted((source / "train").iterdir()):
        files = sorted(folder.iterdir())
        chosen = random.Random(f"study {folder.name}").sample(files, min(per_class, len(files)))
        _link(chosen, to / "train" / folder.name)
    for folder in sorted((source / "test").iterdir()):
        _link(sorted(folder.iterdir()), to / "val" / folder.name)


def _link(files: list[Path], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (to / file.name).exists():
            (to / file.name).hardlink_to(file)


def precompute(flags: argparse.Namespace, views: int, cache: Path, kinds: str) -> None:
    command = [sys.executable, str(ROOT / "precompute" / "run.py"), "--split", "train"]
    command += ["--images", str(flags.work / "images"), "--teacher", "cifar_resnet56"]
    command += ["--weights", str(flags.weights), *NORMALISED, "--policy", "pad-crop"]
    command += ["--size", "32", "--views", str(views), "--targets", kinds, "--cache", str(cache)]
    subprocess.run(command, check=True)


def runs_of(flags: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(name of the run folder, flags of train/run.py) in the order in which they are made."""
    found = []
    for seed in range(flags.seeds):
        for part in flags.part.split(","):
            if part == "losses":
                wanted = [(recipe, flags.work / "cache", "") for recipe in losses_of(flags)]
            elif part == "live":
                wanted = [(recipe, flags.work / "cache", "live") for recipe in PAIRED]
            else:
                wanted = [(r, _cache_of(flags, k), f"k{k}") for k in VIEWS for r in PAIRED]
            for recipe, cache, mark in wanted:
                words = ["--recipe", recipe, "--seed", str(seed), "--cache", str(cache)]
                if mark:
                    words += ["--teacher", "live"] if mark == "live" else ["--student", SMALLEST]
                name = ".".join(word for word in (recipe, mark, f"s{seed}") if word)
                found.append((name, words))
    return found


def losses_of(flags: argparse.Namespace) -> tuple[str, ...]:
    short = {name.removeprefix("cifar.resnet20.").removeprefix(TAUGHT): name for name in LOSSES}
    return LOSSES if flags.recipes is None else tuple(short[name] for name in flags.recipes)


def _cache_of(flags: argparse.Namespace, views: int) -> Path:
    folder: Path = flags.work / ("cache" if views == max(VIEWS) else f"cache.{views}")
    return folder


def train_all(flags: argparse.Namespace) -> None:
    left = [run for run in runs_of(flags) if not (flags.work / "runs" / run[0] / "done").is_file()]
    busy: list[tuple[str, list[str], subprocess.Popen[bytes]]] = []
    while left or busy:
        while left and len(busy) < flags.jobs:
            name, words = left.pop(0)
            command = [sys.executable, str(ROOT / "train" / "run.py"), *words]
            command += ["--out", str(flags.work / "runs" / name), "--epochs", str(flags.epochs)]
            command += ["--images", str(flags.work / "images")]
            command += ["--validate-every", str(max(1, flags.epochs // 2))]
            log = (flags.work / f"{name}.log").open("ab")
            busy.append((name, words, subprocess.Popen(command, stdout=log, stderr=log)))
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        for name, words, process in list(busy):
            if process.poll() is not None:
                busy.remove((name, words, process))
                if process.returncode > 128:  # a signal: it goes on where it was stopped
                    left.insert(0, (name, words))
                elif process.returncode != 0:
                    print(f"{name} failed: see {flags.work / name}.log", file=sys.stderr)
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", default="losses,live,views")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--recipes", nargs="+")
    parser.add_argument("--views", type=int, default=max(VIEWS))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only-table", action="store_true")
    flags = parser.parse_args()
    if "views" in flags.part and flags.views != max(VIEWS):
        parser.error(f"the part `views` needs --views {max(VIEWS)}")
    if not flags.only_table:
        choose_images(flags.images, flags.work / "images", flags.per_class)
        precompute(flags, flags.views, flags.work / "cache", KINDS)
        if "views" in flags.part:
            for views in VIEWS[:-1]:
                precompute(flags, views, _cache_of(flags, views), "logits,channels")
        train_all(flags)
    print_tables(flags.work / "runs", losses_of(flags), PAIRED, VIEWS)


if __name__ == "__main__":
    main()
