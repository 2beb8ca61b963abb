"""Whole runs of composed students: best.pt says what the run said, the teacher's layer stays the
teacher's, and a run that was stopped ends as one that was not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import train.eval
import train.run
from shared.store.opening import open_cache
from tests.composed.recipes import call
from tests.processes import finish, start_world
from tests.runs import load, metrics, require_equal, require_same_run
from train.checkpoint import load_student, run_of
from train.folder import RunFolder
from train.run_files import read_run

HEAD = ("head.weight", "head.bias")


def run(cache: Path, out: Path, recipe: str, *more: object) -> Path:
    arguments = ("--cache", cache, "--out", out, "--recipe", recipe, "--epochs", 2)
    arguments += ("--batch-size", 10, "--lr", 0.05, "--workers", 0, "--device", "cpu")
    call(train.run.main, *arguments, *more)
    return out


@pytest.fixture(scope="module", params=["projected", "split"])
def recipe(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def whole(cache: Path, recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(cache, tmp_path_factory.mktemp(recipe) / "whole", recipe, "--ema", 0.5)


def test_its_losses_fall(whole: Path) -> None:
    first, last = (record for record in metrics(whole) if record["split"] == "train")
    assert all(last["loss"][name] < first["loss"][name] for name in first["loss"])


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_eval_says_what_the_run_said(
    whole: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call(train.eval.main, "--checkpoint", whole / name, "--device", "cpu", "--workers", 0)
    (found,) = re.findall(r"top-1 ([0-9.]+)%", capsys.readouterr().out)
    val = [record["top1"] for record in metrics(whole) if record["split"] == "val"]
    assert found == f"{max(val) if name == 'best.pt' else val[-1]:.2f}"
    assert max(val) > 0


def test_best_is_a_plain_state_dict_of_the_network_in_run_json(whole: Path) -> None:
    state = load(whole / "best.pt")
    model = load_student(whole / "best.pt", run_of(whole / "best.pt")["model"])
    require_equal(dict(model.state_dict()), dict(state))
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_the_head_is_the_teachers_bit_for_bit(cache: Path, whole: Path, recipe: str) -> None:
    """After steps with weight decay, and averaged; that of a split network is its own."""
    head = open_cache(cache, "train").head()
    assert head is not None
    best, last = load(whole / "best.pt"), load(whole / "last.pt")
    states = (best, last["average"], {n[9:]: v for n, v in last["student"].items()})
    for state in states:
        same = [torch.equal(state[name], value) for name, value in
                zip(HEAD, (head.weight, head.bias), strict=True)]  # fmt: skip
        assert all(same) if recipe == "projected" else not any(same)
    trained = len(last["optimizer"]["state"])
    assert trained == len(last["optimizer"]["param_groups"][0]["params"])
    assert any(not torch.equal(best[name], states[2][name]) for name in best), "no average"


class Killed(Exception):
    pass


def test_a_stopped_run_goes_on_to_the_same_end(
    cache: Path, whole: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save: Callable[..., None] = RunFolder.save
    left = [3]

    def save_and_die(self: RunFolder, name: str, state: dict[str, Any]) -> None:
        save(self, name, state)
        left[0] -= name == "last.pt"
        if not left[0]:
            raise Killed

    flags = (cache, tmp_path / "run", recipe, "--ema", 0.5, "--checkpoint-every", 2)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", save_and_die)
        with pytest.raises(Killed):
            run(*flags)
    assert load(tmp_path / "run" / "last.pt")["epoch"] == 1
    run(*flags)
    require_same_run(tmp_path / "run", whole)


def test_run_json_tells_how_it_is_composed(whole: Path, recipe: str) -> None:
    model = read_run(whole, "model")["model"]
    assert model["architecture"] == "cifar_resnet20"
    expected = {"kind": "projected", "width": 64, "side": 8, "signed": False}
    if recipe == "split":
        halves = {"student": [16, 24, 48], "assistant": [8, 16, 24], "widths": [16, 32, 64]}
        expected = {"kind": "split", **halves, "signed": False}
    assert model["composition"] == expected


@pytest.mark.slow
def test_without_the_maps_nothing_is_pooled(cache: Path, tmp_path: Path) -> None:
    """And the live teacher's maps have the size of the cached ones."""
    out = run(cache, tmp_path / "ce", "projected.ce", "--epochs", 1)
    assert read_run(out)["model"]["composition"]["side"] is None
    out = run(cache, tmp_path / "live", "projected", "--epochs", 1, "--teacher", "live")
    assert read_run(out)["model"]["composition"]["side"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["projected", "split", "split.last"])
def test_two_processes_wait_for_no_gradient_that_never_comes(
    cache: Path, tmp_path: Path, name: str
) -> None:
    flags = ("--cache", cache, "--out", tmp_path / "run", "--recipe", name, "--epochs", 2)
    flags += ("--batch-size", 10, "--lr", 0.05, "--workers", 0, "--device", "cpu")
    first, second = finish(start_world(2, "tests/composed/command.py", *flags))
    assert "epoch 1: loss" in first.stdout and second.stdout == ""
    assert first.stderr == second.stderr == "", "a process warns"
