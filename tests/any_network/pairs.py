"""A teacher and a student of any library through the commands: precompute, verify, training from
the cache and with the live teacher, evaluation."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.models.build import build_model
from shared.store.opening import Cache, open_cache
from tests.helpers import run, run_precompute, run_train
from tests.processes import Finished
from tests.runs import load, metrics

CLASSES = 3  # of the fixture image_folder: 12 train images, 9 val images
RECIPE = "s_resnet18.t_resnet34.cd.ce.kdv2"  # reads channels and logits from the first epoch


@dataclass(frozen=True)
class Pair:
    teacher: str
    student: str
    size: int


def write_weights(path: Path, network: str, size: int, classes: int = CLASSES) -> None:
    """A state dict of random numbers; norms and biases are not at their neutral first values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = build_model(network, classes, size=size).network.state_dict()
        for value in state.values():
            if value.is_floating_point() and value.ndim <= 1:
                value += 0.05 * torch.rand_like(value)
    torch.save(state, path)


def precompute(pair: Pair, images: Path, folder: Path, *flags: object) -> tuple[Cache, Finished]:
    """A cache of 2 views in folder/cache, verified."""
    write_weights(folder / "teacher.pt", pair.teacher, pair.size)
    made = run_precompute(
        *("--teacher", pair.teacher, "--weights", folder / "teacher.pt", "--images", images),
        *("--size", pair.size, "--views", 2, "--block", 8, "--batch-size", 5),
        *("--cache", folder / "cache", *flags),
    )
    done = run("precompute/verify.py", "--cache", folder / "cache", "--samples", 24)
    assert done.stdout.splitlines()[-1].endswith(": verified"), done.stdout
    return open_cache(folder / "cache", "train"), made


def train_both_ways(pair: Pair, images: Path, folder: Path, *flags: object) -> None:
    """folder/cached and folder/live, one epoch each."""
    for teacher in ("cached", "live"):
        run_train(
            *("--recipe", RECIPE, "--cache", folder / "cache", "--images", images),
            *("--student", pair.student, "--teacher", teacher, "--out", folder / teacher),
            *("--epochs", 1, "--batch-size", 6),
            *flags,
        )


def apart(folder: Path) -> float:
    """The largest difference between the weights of the two runs; 0 only for equal bits."""
    mine, theirs = (load(folder / name / "best.pt") for name in ("cached", "live"))
    assert list(mine) == list(theirs)
    return max(float((mine[name].double() - theirs[name].double()).abs().max()) for name in mine)


def require_evaluated(pair: Pair, images: Path, folder: Path) -> None:
    """eval.py finds the accuracy that the run had, with its run.json and with the name alone."""
    best = folder / "cached" / "best.pt"
    by_run = run("train/eval.py", "--checkpoint", best, "--images", images)
    top1 = metrics(folder / "cached")[-1]["top1"]
    assert by_run.stdout.startswith(f"val: 9 images, top-1 {top1:.2f}%"), by_run.stdout
    model = json.loads((folder / "cached" / "run.json").read_text())["model"]
    (folder / "alone").mkdir()
    alone = shutil.copy(best, folder / "alone")
    by_name = run(
        *("train/eval.py", "--checkpoint", alone, "--images", images, "--student", pair.student),
        *("--size", pair.size, "--interpolation", model["interpolation"], "--crop", model["crop"]),
        *(flag for name in ("mean", "std") for flag in (f"--{name}", as_flag(model[name]))),
    )
    assert by_name.stdout == by_run.stdout


def as_flag(numbers: list[float]) -> str:
    return ",".join(map(str, numbers))
