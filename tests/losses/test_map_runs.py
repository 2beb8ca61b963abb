"""Runs with losses on maps: from an exact cache they are those of the live teacher, bit for bit,
and two processes take the steps of one."""

from pathlib import Path

import pytest
import torch

from tests.helpers import (
    TEACHER,
    require_refused,
    run,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import finish, start_world
from tests.runs import load, metrics, require_equal

RECIPES = ("tests/losses/map_recipe.py", "tests/losses/map_recipe_split.py")
TERMS = (("ce", "at", "fitnets", "robust", "wkd", "cat", "maps"), ("ce", "residual", "at"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=4, train=6, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    for store in ("zarr", "webdataset"):
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 1),
            *(*TEACHER, "--size", 32, "--block", 6, "--format", store, "--codec", "exact"),
            *("--targets", "logits,channels,attention,map,grid4", "--cache", folder / store),
            *("--batch-size", 7, "--workers", 0),
        )
    return folder


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("recipe", "terms"), [*zip(RECIPES, TERMS, strict=True)])
def test_cached_is_live_bit_for_bit(
    made: Path, tmp_path: Path, store: str, recipe: str, terms: tuple[str, ...]
) -> None:
    flags = ("--cache", made / store, "--recipe", recipe, "--epochs", 1, "--batch-size", 8)
    for teacher in ("cached", "live"):
        run_train(*flags, "--lr", 0.01, "--teacher", teacher, "--out", tmp_path / teacher)
    mine, theirs = (load(tmp_path / teacher / "last.pt") for teacher in ("cached", "live"))
    require_equal(mine["student"], theirs["student"])
    assert sum(name.endswith("fc.weight") for name in mine["student"]) <= 1
    cached, live = (metrics(tmp_path / teacher) for teacher in ("cached", "live"))
    assert cached == live
    assert set(cached[0]["loss"]) == set(terms)
    assert all(value > 0 for value in cached[0]["loss"].values())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_take_the_steps_of_one(made: Path, tmp_path: Path, recipe: str) -> None:
    """Global batches of 9: parts of 5 and 4."""
    flags = ("--cache", made / "zarr", "--recipe", recipe, "--epochs", 1, "--batch-size", 9)
    flags += ("--lr", 0.0001)
    run("tests/frozen_steps.py", tmp_path / "one.pt", *flags)
    finish(start_world(2, "tests/frozen_steps.py", tmp_path / "two.pt", *flags))
    one, two = load(tmp_path / "one.pt"), load(tmp_path / "two.pt")
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-5, atol=1e-6)
    for name, value in one["parameters"].items():
        torch.testing.assert_close(two["parameters"][name], value, rtol=1e-4, atol=1e-5)


def test_residual_kd_needs_a_split_student(made: Path, tmp_path: Path) -> None:
    text = Path(RECIPES[1]).read_text()
    file = tmp_path / "plain.py"
    file.write_text(text.replace('composition="split"', "composition=None"))
    flags = ("--cache", made / "zarr", "--recipe", file, "--out", tmp_path / "run")
    require_refused(run_train(*flags, check=False), "ResidualKD needs a student made of two")
