"""Forged run.json and metrics.jsonl: read with the types of real ones, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from tests.runs import RUN, refusal
from train.run_files import read_metrics, read_run

NUMBERS = {"top1": 50.0, "top5": 90, "seconds": 1.5, "images_per_second": 3.0}
TRAIN = {"epoch": 0, "split": "train", **NUMBERS, "loss": {"ce": 1.0}, "weight": {"ce": 1}}
VAL = {"epoch": 0, "split": "val", **NUMBERS, "raw": {"top1": 49.5, "top5": 88}}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


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
        assert "\n" not in str(error) and "does not hold the records of a run" in str(error)
        return
    assert train["epoch"] == val["epoch"] and [*train["loss"]] == [*train["weight"]]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([VAL], 'line 1: split must be one of train, it is \'val\''),
        ([TRAIN, VAL, VAL], "line 3: split must be one of train, it is 'val'"),
        ([TRAIN, {**TRAIN, "epoch": 2}], "line 2: epoch 2 where 1 is due"),
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


def test_val_records_may_be_missing(tmp_path: Path) -> None:
    """Of epochs that --validate-every left out."""
    epochs = [{**TRAIN, "epoch": epoch} for epoch in range(4)]
    records = [*epochs[:2], {**VAL, "epoch": 1}, *epochs[2:]]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    assert read_metrics(tmp_path) == records
