"""Checkpoints that train/eval.py takes: best.pt, last.pt with its average; and what is none."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import train.agreement
from tests.evaluated import (
    FACTS,
    Evaluate,
    World,
    make_student,
    refused,
    write_run,
)
from train.folder import RunFolder
from train.step import autocast
from train.student import Student


@pytest.mark.parametrize("averages", ["none", "of today", "of earlier versions"])
def test_last_is_what_the_run_evaluates(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path, averages: str
) -> None:
    """The student without its connectors, or its average."""
    other = make_student(world, seed=2)
    best = write_run(tmp_path, other, images=str(world.images))
    average = None
    if averages == "of today":
        average = student.backbone.state_dict()
    elif averages != "none":
        earlier = AveragedModel(student.backbone, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        earlier.update_parameters(student.backbone)
        average = earlier.state_dict()
    judged = other if averages == "none" else student
    kept = {"epoch": 1, "student": other.state_dict(), "average": average}
    RunFolder(tmp_path).save("last.pt", kept)
    last = evaluate(tmp_path / "last.pt")
    best.unlink()
    RunFolder(tmp_path).save("best.pt", judged.backbone.state_dict())
    assert last == evaluate(best)
    if averages != "none":
        RunFolder(tmp_path).save("best.pt", other.backbone.state_dict())
        assert last != evaluate(best)


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_it_runs_at_the_precision_of_its_run(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, precision: str | None,
) -> None:  # fmt: skip
    best = write_run(tmp_path, student, images=str(world.images))
    if precision:
        run = json.loads((tmp_path / "run.json").read_text())
        run["identity"]["precision"] = precision
        (tmp_path / "run.json").write_text(json.dumps(run))
    used = []

    def noted(device: torch.device, name: str) -> AbstractContextManager[Any]:
        used.append(name)
        return autocast(device, name)

    monkeypatch.setattr(train.agreement, "autocast", noted)
    evaluate(best)
    assert set(used) == {precision or "fp32"}


def test_an_average_of_other_shapes(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    write_run(tmp_path, student)
    state = student.backbone.state_dict() | {"fc.bias": torch.zeros(7)}
    RunFolder(tmp_path).save("last.pt", {"student": {}, "average": state})
    text = refused(evaluate, tmp_path / "last.pt")
    assert text == (
        f"{tmp_path}/last.pt does not fit the run.json beside it: weight fc.bias is (7,) float32 "
        f"there and (6,) float32 here; give a run folder as train/run.py wrote it"
    )


def test_files_that_are_no_checkpoint(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    for path in (tmp_path / "run" / "best.pt", world.best.parent, world.best.parent / "last.pt"):
        text = refused(evaluate, path)
        assert text.startswith("--checkpoint must be a file, a run's best.pt or last.pt: ")
        found = "is not a file" if path.exists() else "does not exist"
        assert f"best.pt or last.pt: {path} {found}; check the path" in text
    shutil.copy(world.best, tmp_path / "best.pt")
    text = refused(evaluate, tmp_path / "best.pt")
    assert text.startswith(f"{tmp_path}/best.pt has no run.json beside it, which says what network")
    assert "give the best.pt in the run folder" in text

    best = write_run(tmp_path, student, FACTS | {"classes": 4})
    assert "does not fit resnet18 with stem imagenet and 4 classes" in refused(evaluate, best)
    (tmp_path / "run.json").unlink()
    best = write_run(tmp_path, student, FACTS | {"architecture": "resnet34"})
    assert "does not fit resnet34 with " in refused(evaluate, best)
    for name, rule in (
        ("best.pt", "best.pt is not a file of weights: it does not load with weights_only"),
        ("last.pt", "last.pt is not a checkpoint of this code"),
    ):
        (tmp_path / name).write_bytes(world.best.read_bytes()[:5000])
        assert rule in refused(evaluate, tmp_path / name)
