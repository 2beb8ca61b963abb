"""Training in half precision, compiled, with averaged weights."""

import argparse
from pathlib import Path

import pytest
import torch

from shared.models.build import build_model
from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.runs import load, metrics
from train.flags import add_flags
from train.names import DEFAULT_RECIPE
from train.recipes import get_recipe
from train.setup import make_setup
from train.state import TrainState

CLASSES = 5
RECIPE = get_recipe("s_resnet18.t_resnet34.cd.ce.kdv2")  # every kind of loss, all with a weight


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 1),
        *(*TEACHER, "--size", 32, "--cache", folder / "cache"),
    )
    return folder / "cache"


def train(cache: Path, out: Path, *more: object) -> Path:
    """One step an epoch, so that epoch 0 tells of the initial weights."""
    common = (*STUDENT, "--cache", cache, "--epochs", 2, "--batch-size", 20, "--lr", 0.01)
    run_train(*common, "--out", out, "--recipe", RECIPE.name, *more)
    return out


@pytest.fixture(scope="module")
def plain(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(cache, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_trains_nearly_the_same(
    cache: Path, plain: Path, tmp_path: Path, precision: str
) -> None:
    train(cache, tmp_path, "--precision", precision)
    mine, theirs = metrics(tmp_path), metrics(plain)
    assert mine[0]["total"] != theirs[0]["total"], "it ran in float32"
    assert mine[0]["total"] == pytest.approx(theirs[0]["total"], rel=0.02)
    assert [record["precision"] for record in mine[1::2]] == [precision] * 2
    assert [record["precision"] for record in theirs[1::2]] == ["fp32"] * 2
    scaler = load(tmp_path / "last.pt")["scaler"]
    assert (scaler is not None) == (precision == "fp16")
    if scaler is not None:  # two steps: each counted, or was left out and halved the scale
        assert scaler["scale"] == 2.0 ** (14 + scaler["_growth_tracker"])


@pytest.mark.slow
def test_compiled_trains_nearly_the_same(cache: Path, plain: Path, tmp_path: Path) -> None:
    train(cache, tmp_path, "--compile")
    mine, theirs = metrics(tmp_path), metrics(plain)
    assert mine[0]["total"] == pytest.approx(theirs[0]["total"], rel=1e-3)
    build_model("cifar_resnet20", CLASSES).load_state_dict(load(tmp_path / "best.pt"))


@pytest.mark.parametrize("ema", [(), ("--ema", "0.5")])
def test_what_is_judged_is_compiled_too(cache: Path, ema: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    setup = make_setup(parser.parse_args([*STUDENT, "--cache", str(cache), *ema]))
    state = TrainState(setup, [])
    names = list(state.judged.state_dict())
    state.compile()
    assert len(state.evaluated) == (2 if ema else 1) and state.evaluated[0] is state.judged
    for module in (setup.student, *state.evaluated):
        assert module._compiled_call_impl is not None
    assert list(state.judged.state_dict()) == names


def test_averaged_weights_are_judged_and_kept(cache: Path, tmp_path: Path) -> None:
    """With decay d: the first weights are copied, then a = d a + (1 - d) w."""
    decay = 0.75
    parser = argparse.ArgumentParser()
    add_flags(parser)
    setup = make_setup(parser.parse_args([*STUDENT, "--cache", str(cache), "--ema", str(decay)]))
    state = TrainState(setup, [])
    student = setup.student.backbone
    name, expected = "layer3.1.bn2.weight", None
    for step in range(3):
        with torch.no_grad():
            student.layer3[1].bn2.weight.uniform_(step, step + 1)
            student.layer3[1].bn2.running_var.fill_(step)
        weight = student.state_dict()[name].clone()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        assert state.average is not None
        state.average.update(student)
    torch.testing.assert_close(state.judged.state_dict()[name], expected)
    variance = state.judged.state_dict()["layer3.1.bn2.running_var"]
    torch.testing.assert_close(variance, torch.full((64,), 0.75 * 0.25 + 0.25 * 2))

    train(cache, tmp_path, "--ema", decay, "--epochs", 1, "--batch-size", 5)  # four steps
    last, best = load(tmp_path / "last.pt"), load(tmp_path / "best.pt")
    assert torch.equal(best[name], last["average"][name])
    assert not torch.equal(best[name], last["student"][f"backbone.{name}"])


def test_the_default_recipe_is_not_averaged() -> None:
    assert get_recipe(DEFAULT_RECIPE).ema is None
