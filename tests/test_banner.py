"""What a run says before its first step, and how long it still takes after each epoch."""

import argparse
import re
from pathlib import Path

import pytest

from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from train.banner import banner, leaves_chance, time_left
from train.flags import add_flags
from train.input import open_input
from train.names import DEFAULT_RECIPE
from train.recipes import RECIPES, get_recipe
from train.setup import make_setup


def record(epoch: int, seconds: float, split: str = "train") -> dict[str, object]:
    return {"epoch": epoch, "seconds": seconds, "split": split}


def test_time_left_is_that_of_the_epochs_before_val_included() -> None:
    records = [record(0, 100), record(0, 20, "val")]
    assert time_left(records, 91) == ", about 3 h left"  # 90 x 120 s
    assert time_left(records, 1) == "", "nothing is left after the last epoch"
    slow = [record(epoch, 1000) for epoch in range(3)]  # when the machine was busier
    fast = [record(epoch, 10) for epoch in range(3, 9)]
    assert time_left(slow + fast, 15) == ", about 1 min left"
    resumed = [record(7, 30)]
    assert time_left(resumed, 10) == ", about 1 min left"


def test_time_left_counts_the_epochs_that_will_be_validated() -> None:
    records = [record(epoch, 60) for epoch in range(3)]
    assert time_left(records, 11, 4) == ", about 8 min left", "none was validated yet"
    records += [record(3, 60), record(3, 120, "val")]
    # 7 epochs, and validations after epochs 7 and 10
    assert time_left(records, 11, 4) == ", about 11 min left"
    assert time_left(records, 11) == ", about 21 min left"


@pytest.mark.parametrize(
    ("name", "epochs", "first"),
    [
        (DEFAULT_RECIPE, 100, 30),
        (DEFAULT_RECIPE, 10, 3),
        (DEFAULT_RECIPE, 1, 0),
        ("s_resnet18.t_resnet34.cd.ce", 100, 0),
        ("cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2", 200, 60),
    ],
)
def test_when_top1_leaves_chance(name: str, epochs: int, first: int) -> None:
    assert leaves_chance(get_recipe(name).scaled(epochs)) == first


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_image_folder(folder / "images", classes=5, train=4, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 5)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
        *(*TEACHER, "--size", 32, "--cache", folder / "cache"),
    )
    return folder / "cache"


def lines(cache: Path, *flags: object) -> list[str]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    common = (*STUDENT, "--cache", cache, "--batch-size", 10, "--device", "cpu", "--epochs", 10)
    setup = make_setup(parser.parse_args([str(flag) for flag in (*common, *flags)]))
    feed = open_input(setup)
    text = banner(setup, feed)
    feed.close()
    return text.splitlines()


def test_the_banner_of_the_default_recipe(cache: Path) -> None:
    assert lines(cache, "--out", "runs/x") == [
        f"recipe   {DEFAULT_RECIPE}: ce x 1 from epoch 3, gkd x 1 from epoch 3, "
        f"cd x 6 (x 0.9 at epochs 3, 6, 9)",
        "student  cifar_resnet20, 272,149 parameters, 5 classes; teacher cifar_resnet20, from the "
        "cache",
        f"data     cache {cache}/train (zarr, codec half, 2 views of 20 images at 32 px); images "
        f"{cache.parent}/images; val {cache.parent}/images",
        "run      runs/x",
        "device   cpu, fp32, 0 loader workers",
        "size     10 epochs of 2 steps, 20 in all; batch 10",
        "note     no loss trains the classifier before epoch 3 (Early Decay Teacher): top-1 stays "
        "at chance, 20%, until then, by design",
    ]


def test_the_banner_of_a_student_without_a_teacher(cache: Path) -> None:
    found = lines(cache, "--recipe", "resnet18.ce", "--accumulate", 2)
    assert found[0] == "recipe   resnet18.ce: ce x 1" and len(found) == 6
    assert found[1].endswith("; teacher none") and found[5].endswith("batch 10, in 2 pieces")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_trains_its_classifier_in_the_end(recipe: object) -> None:
    assert isinstance(recipe, type(RECIPES[0])) and leaves_chance(recipe) < recipe.epochs


def test_the_line_of_an_epoch_tells_the_time_left(cache: Path, tmp_path: Path) -> None:
    flags = (
        *(*STUDENT, "--cache", cache, "--batch-size", 10, "--epochs", 2),
        *("--out", tmp_path / "run"),
    )
    first, last, *_ = run_train(*flags).stdout.splitlines()[-3:]
    assert re.search(r"images/s, about [\d.]+ (ms|s|min) left$", first), first
    assert last.endswith("images/s")
