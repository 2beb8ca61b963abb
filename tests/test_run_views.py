"""A cache that grows under a run changes nothing of the run: it goes on with its own views."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from shared.store.opening import open_cache
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import start_halting
from tests.runs import load, metrics, require_same_run

EPOCHS = 3  # the third has view 0 of 2, but view 2 of 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    return folder


def precompute(made: Path, cache: Path, store: str, views: int) -> None:
    run_precompute(
        *("--images", made / "images", "--weights", made / "teacher.pt", "--size", 32),
        *(*TEACHER, "--block", 6, "--format", store, "--cache", cache),
        *("--views", views),
    )


def flags(cache: Path, out: Path) -> tuple[object, ...]:
    return (
        *(*STUDENT, "--cache", cache, "--out", out, "--epochs", EPOCHS, "--batch-size", 4),
        *("--lr", 0.02),
    )


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
def test_a_run_goes_on_with_the_views_it_began_with(made: Path, tmp_path: Path, store: str) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    precompute(made, cache, store, views=2)
    run_train(*flags(cache, tmp_path / "whole"))
    note = tmp_path / "halted"
    begun = start_halting("*/last.pt", 2, note, "train/run.py", *flags(cache, out))
    begun.signal(signal.SIGTERM)
    assert begun.wait().returncode == 128 + signal.SIGTERM
    assert load(out / "last.pt")["epoch"] < EPOCHS, "it came to its end first"

    precompute(made, cache, store, views=4)
    assert open_cache(cache, "train").manifest.views == 4
    # A cache that still grows lacks blocks of views that this run never asks for.
    (cache / "train/receipts/v0003-b000001.json").unlink()
    done = run_train(*flags(cache, out), "--dry-run")
    assert "2 views of 12 images" in done.stdout
    run_train(*flags(cache, out))
    require_same_run(out, tmp_path / "whole")
    assert [record["view"] for record in metrics(out)[::2]] == [0, 1, 0]

    done = run_train(*flags(cache, tmp_path / "new"), check=False)
    require_refused(done, "block 1 of view 3 is missing")
    precompute(made, cache, store, views=4)
    run_train(*flags(cache, tmp_path / "new"))
    assert [record["view"] for record in metrics(tmp_path / "new")[::2]] == [0, 1, 2]


def test_fewer_views_than_the_run_began_with(made: Path, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    precompute(made, cache, "zarr", views=1)
    run_train(*flags(cache, out), "--epochs", 1)
    run = json.loads((out / "run.json").read_text())
    assert run["identity"]["views"] == 1
    run["identity"]["views"] = 3
    (out / "run.json").write_text(json.dumps(run))
    done = run_train(*flags(cache, out), "--epochs", 1, check=False)
    require_refused(done, f"{out} was begun with 3 views and {cache}/train has 1", "--views 3")
    # Of another cache: that is what is told.
    run["identity"]["cache"] = "0" * 12
    (out / "run.json").write_text(json.dumps(run))
    done = run_train(*flags(cache, out), "--epochs", 1, check=False)
    require_refused(done, f"{out} holds another run: its cache differs (000000000000 -> ")
    shutil.rmtree(out)
