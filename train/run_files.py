"""Reads and checks a run folder's run.json and metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

from shared.errors import InputError
from train.reading import read_regular
from train.run_schema import IDENTITY, RUN, TRAIN, VAL
from train.schema import mismatch

RUN_FILE = "run.json"

JSON_BYTES = 1 << 28

GIVE_A_RUN = "give a folder that train/run.py wrote"


def read_run(path: Path, *needed: str) -> dict[str, Any]:
    """run.json, with at least the `needed` fields, like "model" or "identity.seed".

    Raises InputError if the folder has no run.json, or not one that train/run.py wrote.
    """
    data = read_regular(path / RUN_FILE, JSON_BYTES)
    if data is None:
        raise InputError(f"{path} is not a run folder: it {_lack(path)}; {GIVE_A_RUN}")
    pattern: dict[str, Any] = {**RUN, "identity": dict(IDENTITY)}
    for name in needed:
        inside, field = (pattern["identity"], name[9:]) if "." in name else (pattern, name)
        inside[field] = getattr(inside[field], "pattern", inside[field])
    try:
        run: dict[str, Any] = json.loads(data)
        if (problem := mismatch(run, pattern)) is not None:
            raise ValueError(problem)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a run folder: its run.json is not one that train/run.py wrote "
            f"({_reason(error)}); {GIVE_A_RUN}"
        ) from error
    return run


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, two per finished epoch (train, then val).

    {"epoch": e, "split": "train" | "val", "top1": percent, "top5": percent, "seconds": s,
     "images_per_second": r}; train also has "loss": {term: mean}, "weight": {term: w}, "total": the
    weighted sum, "samples": number, "learning_rate": r, "view": v; val also has "precision" and
    "undecodable": the number of images that count as wrong because they do not decode.

    Raises InputError if the file has anything else.
    """
    name = path / "metrics.jsonl"
    if (data := read_regular(name, JSON_BYTES)) is None:
        return []
    try:
        lines = data.decode().splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for number, record in enumerate(records):
            pattern = VAL if number % 2 else TRAIN
            if (problem := mismatch(record, pattern)) is not None:
                raise ValueError(f"line {number + 1}: {problem}")
        _require_order(records)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name} does not hold the two records of every epoch ({_reason(error)}); restore it, "
            f"or start again in another --out"
        ) from error
    return records


def _require_order(records: list[dict[str, Any]]) -> None:
    """Raises ValueError unless epochs rise by 1, train before val, with the same terms in all."""
    for number, record in enumerate(records):
        if number % 2:
            expected = records[number - 1]["epoch"]
        else:
            expected = records[number - 1]["epoch"] + 1 if number else record["epoch"]
        if record["epoch"] != expected:
            raise ValueError(f"line {number + 1}: epoch {record['epoch']} where {expected} is due")
        terms = [*records[0]["loss"]]
        if not number % 2 and ([*record["loss"]] != terms or [*record["weight"]] != terms):
            raise ValueError(f"line {number + 1}: other terms than in line 1")
    if len(records) % 2:
        raise ValueError(f"epoch {records[-1]['epoch']} has no val record")


def _lack(path: Path) -> str:
    """What is wrong with a path that has no run.json."""
    if not path.is_dir():
        return "does not exist" if not path.exists() else "is not a folder"
    try:
        return "has no run.json" if any(path.iterdir()) else "is empty"
    except OSError as error:
        return f"cannot be listed ({error.strerror})"


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
