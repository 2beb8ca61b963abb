"""The tails through the commands: precompute keeps them, training uses them, all tell them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.store.opening import open_cache
from shared.store.tails_file import CHANNELS, encode, measure, require_tails
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run,
    run_precompute,
    run_train,
    snapshot,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished, start_halting
from train.run_files import read_run

RCD = "s_resnet18.t_resnet34.rcd.ce"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        precompute(folder, store)
    return folder


def precompute(folder: Path, store: str, *flags: object) -> Finished:
    return run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", *TEACHER),
        *("--size", 32, "--views", 2, "--block", 8, "--codec", "exact", "--format", store),
        *("--cache", folder / store, *flags),
    )


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_every_command_tells_them(made: Path, tmp_path: Path, store: str) -> None:
    line = require_tails(open_cache(made / store, "train")).line()
    assert (made / store / "train" / CHANNELS).exists()
    assert line in precompute(made, store).stdout
    assert line in run("precompute/verify.py", "--split", "train", "--cache", made / store).stdout
    flags = (*STUDENT, "--cache", made / store, "--recipe", RCD, "--epochs", 1)
    out = tmp_path / "run"
    flags = (*flags, "--batch-size", 12, "--out", out)
    assert line in run_train(*flags, "--dry-run").stdout
    run_train(*flags)
    shares = open_cache(made / store, "train")
    assert read_run(out, "cache")["cache"]["tails"] == list(require_tails(shares).share)
    report = run("train/report.py", out, "--out", tmp_path / "curves.png").stdout
    assert " ".join(f"{x:.2g}" for x in require_tails(shares).share) + " |" in report


def test_a_cached_and_a_live_teacher_end_with_the_same_student(made: Path, tmp_path: Path) -> None:
    states = []
    for teacher in ("cached", "live"):
        run_train(
            *(*STUDENT, "--cache", made / "zarr", "--recipe", RCD, "--epochs", 2, "--lr", 0.02),
            *("--batch-size", 12, "--teacher", teacher, "--out", tmp_path / teacher),
        )
        states.append(torch.load(tmp_path / teacher / "best.pt", weights_only=True))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_cache_of_an_earlier_version_trains_and_ends_alike(made: Path, tmp_path: Path) -> None:
    """It has no channels.json; a run measures what it needs, and writes nothing there."""
    shutil.copytree(made / "zarr", tmp_path / "old")
    (tmp_path / "old" / "train" / CHANNELS).unlink()
    before = snapshot(tmp_path / "old")
    flags = (*STUDENT, "--recipe", RCD, "--epochs", 1, "--batch-size", 12)
    for cache, out in ((made / "zarr", "new run"), (tmp_path / "old", "old run")):
        run_train(*flags, "--cache", cache, "--out", tmp_path / out)
    assert snapshot(tmp_path / "old") == before
    states = [
        torch.load(tmp_path / out / "best.pt", weights_only=True) for out in ("new run", "old run")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_verify_finds_a_file_that_says_something_else(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "zarr", tmp_path / "cache")
    cache = open_cache(tmp_path / "cache", "train")
    found = measure(cache)
    twice = tuple(tuple(2 * value for value in stage) for stage in found.spread)
    wrong = replace(found, spread=twice)
    cache.files.write(CHANNELS, encode(cache.manifest, wrong))
    done = run(
        "precompute/verify.py", "--split", "train", "--cache", tmp_path / "cache", check=False
    )
    assert done.returncode == 1
    assert "channels.json does not follow from the channel means" in done.stderr


def test_a_damaged_file_ends_training_in_one_line(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "zarr", tmp_path / "cache")
    (tmp_path / "cache" / "train" / CHANNELS).write_bytes(b"{}")
    done = run_train(
        *(*STUDENT, "--cache", tmp_path / "cache", "--recipe", RCD, "--out", tmp_path / "run"),
        check=False,
    )
    require_refused(
        done,
        "channels.json, which says how ",
        " cannot be used (",
        "run the same precompute/run.py command",
    )


def test_a_cache_that_is_filled_in_parts_has_them_at_its_end(made: Path, tmp_path: Path) -> None:
    """Wherever it is stopped, the file is there only when all blocks are."""
    flags = ("--images", made / "images", "--weights", made / "teacher.pt", *TEACHER)
    flags = ("--split", "train", *flags, "--size", 32, "--views", 2, "--block", 8)
    flags = (*flags, "--codec", "exact", "--cache", tmp_path / "cache")
    halted = start_halting("*/receipts/*", 3, tmp_path / "note", "precompute/run.py", *flags)
    assert not (tmp_path / "cache" / "train" / CHANNELS).exists()
    halted.signal(9)
    halted.wait()
    run("precompute/run.py", *flags)
    assert snapshot(tmp_path / "cache") == snapshot(made / "zarr")
