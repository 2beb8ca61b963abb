"""What train/run.py and train/report.py cannot use: one line that says what is wrong."""

import shutil
from pathlib import Path

import pytest

from shared.store.opening import open_cache
from tests.helpers import require_refused, run, run_train, snapshot
from tests.processes import Finished
from tests.refusals import CD, World
from train.run_files import read_metrics


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--recipe", "nonsense"), ["there is no recipe 'nonsense'. --help lists all recipes"]),
        (
            ("--recipe", "resnet18.cd"),
            ["no recipe 'resnet18.cd': did you mean resnet18.ce? --help"],
        ),
        (("--cache", "nowhere"), ["--cache must hold train/manifest.json: nowhere does not exist"]),
        (("--cache", "nowhere"), ["check the path", "--images SOURCE --cache nowhere"]),
        (("--images", "nowhere"), ["--images must be a folder", "got nowhere: no such folder"]),
        (("--teacher", "none"), [f"recipe {CD} needs channels from a teacher: got --teacher none"]),
        (("--batch-size", 0), ["--batch-size must be above 0: got 0"]),
        (("--epochs", 0), ["--epochs must be above 0: got 0"]),
        (("--lr", 0), ["--lr must be above 0: got 0"]),
        (("--lr", "nan"), ["--lr must be above 0: got nan"]),
        (("--seed", -1), ["--seed must be 0 or more and below 2^63: got -1"]),
        (("--workers", -1), ["--workers must be 0 or more: got -1"]),
        (("--device", "nonsense"), ["--device nonsense cannot be used here ("]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_training_flags_that_cannot_be_used(
    world: World, tmp_path: Path, flags: tuple[object, ...], parts: list[str]
) -> None:
    require_refused(world.train(tmp_path / "out", *flags), *parts)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("teacher", ["cached", "live"])
def test_a_teacher_without_a_cache(world: World, tmp_path: Path, teacher: str) -> None:
    done = run_train(
        *("--teacher", teacher, "--images", world.images, "--out", tmp_path / "out"), check=False
    )
    require_refused(
        done,
        f"--teacher {teacher} takes views and targets from a cache: no --cache was given",
        "make one with precompute/run.py, or train without with --teacher none",
    )
    assert snapshot(tmp_path) == {}


def test_a_live_teacher_with_other_weights(world: World, tmp_path: Path) -> None:
    other = world.folder / "other.pt"
    mine = open_cache(world.cache, "train").manifest.teacher.sha256
    require_refused(
        world.train(tmp_path / "out", "--teacher", "live", "--weights", other),
        f"{other} is not the cached teacher: its sha256 is ",
        f"the cache was made with weights of {mine[:12]}; ",
        "give the same file with --weights",
    )
    require_refused(
        world.train(
            *(tmp_path / "out", "--teacher", "live", "--weights", world.folder / "three.pt")
        ),
        "three.pt is not the cached teacher: its sha256 is ",
    )
    assert snapshot(tmp_path) == {}


def test_a_val_split_that_does_not_fit(spare: World, tmp_path: Path) -> None:
    shutil.rmtree(spare.images / "val" / "class3")
    done = spare.train(tmp_path / "out")
    require_refused(
        done, f"train and val of {spare.images} have different classes: 5 and 4, or other names"
    )
    shutil.rmtree(spare.images / "val")
    require_refused(
        spare.train(tmp_path / "out"),
        f"{spare.images} has no val split, which this command needs: found train; add a folder val",
    )
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_run_should_be(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    require_refused(world.train(tmp_path / "out"), f"{tmp_path}/out", "cannot be written: ")
    assert snapshot(tmp_path) == {"out": b"mine"}


def test_a_loss_that_is_not_finite_stops_the_run(world: World, tmp_path: Path) -> None:
    done = world.train(tmp_path / "out", "--lr", 1e30, "--epochs", 2)
    require_refused(done, "the loss is not finite any more: in epoch 0", "lower --lr")
    assert not (tmp_path / "out" / "last.pt").exists() and not read_metrics(tmp_path / "out")


def test_a_report_on_what_is_no_run(world: World, tmp_path: Path) -> None:
    def report(*runs: Path) -> Finished:
        return run("train/report.py", *runs, "--out", tmp_path / "new" / "a.png", check=False)

    nowhere = tmp_path / "nowhere"
    require_refused(report(nowhere), f"{nowhere} is not a run folder: it does not exist")
    world.train(tmp_path / "run", check=True)
    require_refused(report(tmp_path / "run", nowhere), f"{nowhere} is not a run folder: ")
    for name in ("metrics.jsonl", "done"):
        (tmp_path / "run" / name).unlink()
    require_refused(report(tmp_path / "run"), f"{tmp_path}/run has no finished epochs to report")
    (tmp_path / "run" / "run.json").write_text("{")
    require_refused(report(tmp_path / "run"), "its run.json is not one that train/run.py wrote (")
    assert not (tmp_path / "new").exists()
