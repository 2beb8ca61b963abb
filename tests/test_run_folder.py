"""Run folders: what is saved loads anywhere, and whatever lies in one ends in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from train.difference import difference, needs_teacher
from train.folder import RunFolder, on_cpu
from train.recipes import RECIPES, get_recipe
from train.run_files import read_metrics, read_run
from train.schema import Optional, Values, count, mismatch, one_of

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


# Whatever lies there

RUN = {
    "identity": {"recipe": "r", "teacher": "none", "seed": 0, "views": 2},
    "epochs": 2,
    "cache": None,
    "flags": {"images": "None"},
    "model": {
        "architecture": "resnet18", "stem": "cifar", "classes": 3, "size": 8,
        "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2],
    },
}  # fmt: skip
NUMBERS = {"top1": 50.0, "top5": 90, "seconds": 1.5, "images_per_second": 3.0}
TRAIN = {"epoch": 0, "split": "train", **NUMBERS, "loss": {"ce": 1.0}, "weight": {"ce": 1}}
VAL = {"epoch": 0, "split": "val", **NUMBERS}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def put(path: Path, kind: str) -> None:
    """Something odd under that name."""
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")  # a regular file whose bytes are an I/O error
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_bytes({"empty": b"", "binary": bytes(range(256)), "deep": b"[" * 10**5}[kind])


KINDS = ("directory", "fifo", "device", "loop", "unreadable", "empty", "binary", "deep")
READERS: dict[str, Callable[[Path], object]] = {
    "run.json": read_run,
    "metrics.jsonl": read_metrics,
    "last.pt": lambda folder: RunFolder(folder).load_checkpoint(),
}


def refusal(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_odd_files(tmp_path: Path, name: str, kind: str) -> None:
    put(tmp_path / name, kind)
    if (name, kind) == ("metrics.jsonl", "empty"):
        assert read_metrics(tmp_path) == []
    else:
        assert str(tmp_path) in refusal(READERS[name], tmp_path)


def test_folders_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    for name, found in (
        ("nowhere", "does not exist"),
        ("file", "is not a folder"),
        ("empty", "is empty"),
        ("other", "has no run.json"),
    ):
        text = refusal(read_run, tmp_path / name)
        assert text.startswith(f"{tmp_path / name} is not a run folder: it {found}; give a folder")


def paths_of(value: Any) -> list[tuple[Any, ...]]:
    """Of every part of nested dicts and lists, the whole first."""
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return [(), *((name, *rest) for name, part in inner for rest in paths_of(part))]


def forged(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """`value` with `other` at that path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = forged(copy[path[0]], path[1:], other)
    return copy


@given(st.sampled_from(paths_of(RUN)), JSON_VALUES)
def test_any_field_of_run_json(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], other: Any
) -> None:
    """It is read with the types that it has in a real one, or refused."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps(forged(RUN, path, other)))
    try:
        run = read_run(folder, "model", "flags", "epochs", "identity.seed", "identity.teacher")
    except InputError as error:
        assert "\n" not in str(error) and "is not one that train/run.py wrote" in str(error)
        return
    model, identity = run["model"], run["identity"]
    assert model["classes"] > 0 and 0 < model["size"] <= 4096 and min(model["std"]) > 0
    assert type(identity["seed"]) is int and type(identity["teacher"]) is str
    assert type(run["epochs"]) is int


@given(st.sampled_from([(0, path) for path in paths_of(TRAIN)] + [(1, p) for p in paths_of(VAL)]),
       JSON_VALUES)  # fmt: skip
def test_any_field_of_metrics(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[int, tuple[Any, ...]], other: Any
) -> None:
    folder = tmp_path_factory.mktemp("run")
    records: list[Any] = [TRAIN, VAL]
    records[place[0]] = forged(records[place[0]], place[1], other)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    try:
        train, val = read_metrics(folder)
    except InputError as error:
        assert "\n" not in str(error) and "does not hold the two records" in str(error)
        return
    assert train["epoch"] == val["epoch"] and [*train["loss"]] == [*train["weight"]]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([VAL], 'line 1: split must be one of train, it is \'val\''),
        ([TRAIN], "epoch 0 has no val record"),
        ([TRAIN, VAL, TRAIN, VAL], "line 3: epoch 0 where 1 is due"),
        ([TRAIN, {**VAL, "epoch": 1}], "line 2: epoch 1 where 0 is due"),
        ([TRAIN, VAL, {**TRAIN, "epoch": 1, "loss": {}}, VAL], "line 3: other terms"),
        ([{**TRAIN, "top1": float("nan")}, VAL], "line 1: top1 must be a finite number"),
    ],
)  # fmt: skip
def test_records_that_are_not_those_of_a_run(
    tmp_path: Path, lines: list[dict[str, Any]], named: str
) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    assert named in refusal(read_metrics, tmp_path)


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


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_are_told_apart_by_what_differs(recipe: Any) -> None:
    scaled = recipe.scaled(recipe.epochs * 2)
    told = difference(repr(recipe), repr(scaled)).split(", ")
    assert f"epochs {recipe.epochs} -> {scaled.epochs}" in told
    assert difference(repr(recipe), repr(recipe.scaled(recipe.epochs))).count("->") == 1  # itself
    assert needs_teacher(repr(recipe)) == bool(recipe.needs)


def test_a_difference_names_terms_and_fields() -> None:
    mine = repr(get_recipe("s_resnet18.t_resnet34.cd.ce"))
    assert difference(mine, mine.replace("Constant(value=6.0)", "Constant(value=3.0)")) == (
        "terms.cd.weight.value 6.0 -> 3.0"
    )
    other = repr(get_recipe("resnet18.ce"))
    assert difference(mine, other) == (
        "name 's_resnet18.t_resnet34.cd.ce' -> 'resnet18.ce', terms.cd is gone, "
        "teacher 'resnet34' -> None, paper_top1_error 28.38 -> 30.43"
    )


@given(st.text(max_size=50), st.text(max_size=50))
def test_texts_that_are_no_recipes(old: str, new: str) -> None:
    assert " -> " in difference(old, new)
    assert difference("(" * 10**4, repr(RECIPES[0])).startswith("((((")
    assert needs_teacher(old)
    assert "\n" not in difference(f"{old}\n", new) and "\x1b" not in difference("\x1b[0m", new)


# The schema itself


@pytest.mark.parametrize(
    ("value", "pattern", "problem"),
    [
        (1, float, None),
        (True, float, "a finite number"),
        (True, int, "must be int"),
        (float("inf"), float, "a finite number"),
        (10**400, float, "a finite number"),
        (-1, count, "0, 1, 2, ... below 2^63"),
        (2**63, count, "below 2^63"),
        ("b", one_of("a", "b"), None),
        (["b"], one_of("a", "b"), "one of a, b"),
        ({}, {"a": Optional(int)}, None),
        ({"a": None}, {"a": Optional(int)}, None),
        ({"a": "x"}, {"a": Optional(int)}, "a must be int, it is 'x'"),
        ({}, {"a": int}, "a is missing"),
        ({"a": {"b": [1, None]}}, {"a": {"b": [int]}}, "a.b[1] must be int, it is None"),
        ({"a": 1, "b": "x"}, Values(int), "b must be int, it is 'x'"),
        ({1: 1}, Values(int), "must be an object"),
        ({"a\nb": "x"}, Values(int), "a\\nb must be int, it is 'x'"),
        ([], {"a": int}, "the whole must be an object, it is list"),
    ],
)
def test_what_a_pattern_takes(value: Any, pattern: Any, problem: str | None) -> None:
    found = mismatch(value, pattern)
    assert (found is None) if problem is None else (found is not None and problem in found)
