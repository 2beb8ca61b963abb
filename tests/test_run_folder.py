"""Run folders: what is saved loads anywhere, and one folder holds one run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from shared.errors import InputError
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.runs import RUN
from train.folder import RunFolder
from train.serialise import on_cpu

# Saved on the CPU


def devices(value: Any) -> set[str]:
    if isinstance(value, torch.Tensor):
        return {value.device.type}
    inner = value.values() if isinstance(value, dict) else value
    return (
        set[str]().union(*map(devices, inner)) if isinstance(value, dict | list | tuple) else set()
    )


def test_tensors_of_a_gpu_are_saved_as_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(torch, "save", lambda state, buffer: saved.append(state))
    with FakeTensorMode():  # which makes tensors of devices that are not there
        on_gpu = {
            "epoch": 3, "layout": [1, 2], "scaler": None,
            "student": {"weight": torch.empty(2, device="cuda")},
            "optimizer": {"state": {0: {"momentum_buffer": torch.empty(2, device="cuda:0")}},
                          "param_groups": [{"params": [0], "lr": 0.1, "pair": (1, 2)}]},
        }  # fmt: skip
        assert devices(on_gpu) == {"cuda"}
        RunFolder(tmp_path).save("last.pt", on_gpu)
    (state,) = saved
    assert devices(state) == {"cpu"}
    assert state["optimizer"]["param_groups"] == on_gpu["optimizer"]["param_groups"]  # type: ignore[index]
    assert (state["epoch"], state["layout"], state["scaler"]) == (3, [1, 2], None)


def test_nothing_but_plain_values_is_saved() -> None:
    with pytest.raises(AssertionError, match="PosixPath"):
        on_cpu({"where": Path("here")})


# Checkpoints of other content, through the command


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 1),
        *(*TEACHER, "--size", 32, "--cache", folder / "cache"),
    )
    run_train(*flags(folder, folder / "run"))
    return folder


def flags(made: Path, out: Path) -> tuple[object, ...]:
    common = (*STUDENT, "--cache", made / "cache", "--images", made / "images", "--batch-size", 6)
    return (*common, "--epochs", 1, "--lr", 0.01, "--ema", 0.5, "--out", out)


def in_a_copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_checkpoint_of_other_shapes(made: Path, tmp_path: Path) -> None:
    """Fields as they should be, with another network's weights in them."""
    out = in_a_copy(made, tmp_path)
    saved = RunFolder(out).load_checkpoint()
    assert saved is not None
    saved["student"]["backbone.fc.weight"] = torch.zeros(7, 64)
    RunFolder(out).save("last.pt", saved)
    done = run_train(*flags(made, out), check=False)
    require_refused(
        done,
        "last.pt does not fit this run: student backbone.fc.weight is (7, 64) float32 there and "
        "(3, 64) float32 here; delete it to start the run again",
    )


def test_metrics_that_lack_epochs(made: Path, tmp_path: Path) -> None:
    out = in_a_copy(made, tmp_path)
    (out / "metrics.jsonl").unlink()
    done = run_train(*flags(made, out), check=False)
    require_refused(done, "metrics.jsonl has 0 of the 1 epochs that last.pt has finished")


# What a run is


def test_the_val_images_are_a_part_of_the_run(made: Path, tmp_path: Path) -> None:
    out = in_a_copy(made, tmp_path)
    images = tmp_path / "images"
    shutil.copytree(made / "images", images)
    shutil.copy(images / "val/class0/000.jpg", images / "val/class0/more.jpg")
    other = (*flags(made, out), "--images", images)
    require_refused(run_train(*other, check=False), f"{out} holds another run: its val differs (")
    run = json.loads((out / "run.json").read_text())
    assert run["processes"] == 1
    # One that was begun before this was recorded goes on.
    for name in ("val", "val_cache", "val_policy"):
        del run["identity"][name]
    del run["processes"]
    (out / "run.json").write_text(json.dumps(run))
    assert run_train(*other).stderr == ""
    # Another number of processes is told, and no reason to stop.
    (out / "run.json").write_text(json.dumps({**run, "processes": 4}))
    done = run_train(*other)
    assert done.stderr.startswith(f"NOTE: {out} was begun with 4 processes and goes on with 1: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("size", "policy", "told"),
    [(224, "resize-center", True), (64, "resize-center", False), (224, "center", False)],
)
def test_a_run_of_an_earlier_version_is_told_that_its_val_pixels_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, policy: str, told: bool
) -> None:
    facts: dict[str, Any] = {"model": {**RUN["model"], "size": size}}
    RunFolder(tmp_path).open({"seed": 1}, facts)
    RunFolder(tmp_path).open({"seed": 1, "val_policy": policy}, facts)
    noted = capsys.readouterr().err
    assert ("begun with an earlier version, which judged on the val pixels" in noted) == told
    # One that says what it saw goes on with that, and with nothing else.
    run_json = json.loads((tmp_path / "run.json").read_text())
    run_json["identity"]["val_policy"] = "center"
    (tmp_path / "run.json").write_text(json.dumps(run_json))
    RunFolder(tmp_path).open({"seed": 1, "val_policy": "center"}, facts)
    with pytest.raises(InputError, match="its val_policy differs"):
        RunFolder(tmp_path).open({"seed": 1, "val_policy": "resize-center"}, facts)
    assert capsys.readouterr().err == ""
