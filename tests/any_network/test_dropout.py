"""Students with dropout: its random numbers follow from the seed and the step alone."""

import signal
from pathlib import Path

import pytest
import torch
from torch.nn.functional import dropout

from tests.helpers import run, run_precompute, run_train, write_image_folder, write_teacher
from tests.processes import start_halting
from tests.runs import load, require_equal, require_same_run
from train.randomness import seed_step

OWN = f"{Path(__file__).with_name('own_network.py')}:make"
CLASSES = 3


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt"),
        *("--teacher", "cifar_resnet20", "--cache", folder / "cache", "--codec", "exact"),
        *("--views", 2, "--size", 32),
    )
    return folder / "cache"


def flags(cache: Path, out: Path, seed: int = 0) -> tuple[object, ...]:
    return (
        *("--cache", cache, "--student", OWN, "--out", out, "--epochs", 3, "--batch-size", 5),
        *("--lr", 0.02, "--recipe", "s_resnet18.t_resnet34.cd.ce.kdv2", "--seed", seed),
    )


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_train(*flags(cache, out))
    return out


def test_a_live_teacher_trains_the_same_weights(cache: Path, whole: Path, tmp_path: Path) -> None:
    run_train(*flags(cache, tmp_path / "live"), "--teacher", "live")
    for part in ("student", "optimizer"):
        mine, theirs = (load(folder / "last.pt")[part] for folder in (tmp_path / "live", whole))
        require_equal(mine, theirs, part)


def test_a_run_goes_on_as_if_it_had_not_been_stopped(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # last.pt is written twice an epoch, so this is after the steps of epoch 1.
    process = start_halting(
        *("*/last.pt", 3, tmp_path / "halted"), *("train/run.py", *flags(cache, out))
    )
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    run_train(*flags(cache, out))
    require_same_run(out, whole)


@pytest.mark.slow
def test_of_mnasnet_and_its_average_too(cache: Path, tmp_path: Path) -> None:
    """torchvision's MNASNet refuses a state dict that is a plain dictionary."""

    def arguments(out: Path) -> tuple[object, ...]:
        return (*flags(cache, out), "--student", "mnasnet0_5", "--ema", 0.5)

    run_train(*arguments(tmp_path / "whole"))
    process = start_halting(
        *("*/last.pt", 3, tmp_path / "halted"), *("train/run.py", *arguments(tmp_path / "run"))
    )
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    run_train(*arguments(tmp_path / "run"))
    require_same_run(tmp_path / "run", tmp_path / "whole")
    for name in ("best.pt", "last.pt"):
        run(
            "train/eval.py",
            "--checkpoint",
            tmp_path / "run" / name,
            "--images",
            cache.parent / "images",
        )


def test_every_step_process_and_seed_drops_other_numbers() -> None:
    def dropped(*step: int) -> torch.Tensor:
        seed_step(*step, torch.device("cpu"))
        return dropout(torch.ones(1000))

    first = dropped(7, 0, 0, 0)
    assert torch.equal(dropped(7, 0, 0, 0), first)
    assert 400 < (first == 0).sum() < 600
    others = [dropped(8, 0, 0, 0), dropped(7, 1, 0, 0), dropped(7, 0, 1, 0), dropped(7, 0, 0, 1)]
    assert len({tuple(other.tolist()) for other in [first, *others]}) == 5
