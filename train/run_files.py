"""Reads and checks a run folder's run.json and metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

from shared.errors import InputError
from shared.files.location import Location, inside
from train.reading import read_file
from train.run_schema import IDENTITY, RUN, TRAIN, VAL
from train.schema import mismatch

RUN_FILE = "run.json"

JSON_BYTES = 1 << 28

GIVE_A_RUN = "give a folder that train/run.py wrote"


def read_run(path: Location, *needed: str) -> dict[str, Any]:
    """run.json, with at least the `needed` fields, like "model" or "identity.seed".

    Raises InputError if the folder has no run.json, or not one that train/run.py wrote.
    """
    data = read_file(path, RUN_FILE, JSON_BYTES)
    if data is None:
        raise InputError(f"{path} is not a run folder: it {_lack(path)}; {GIVE_A_RUN}")
    pattern: dict[str, Any] = {**RUN, "identity": dict(IDENTITY)}
    for name in needed:
        facts, field = (pattern["identity"], name[9:]) if "." in name else (pattern, name)
        facts[field] = getattr(facts[field], "pattern", facts[field])
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


def read_metrics(path: Location) -> list[dict[str, Any]]:
    """The records of metrics.jsonl: of each finished epoch one of train, and one of val after it
    if the epoch was validated.

    {"epoch": e, "split": "train" | "val", "top1": percent, "top5": percent, "seconds": s,
     "images_per_second": r}; train also has "loss": {term: mean}, "weight": {term: w}, "total": the
    weighted sum, "samples": number, "learning_rate": r, "view": v, "seconds_left": an estimate for
    the rest of the run; val also has "precision", "undecodable": the number of images that count as
    wrong because they do not decode, and "cross_entropy": its mean over the others, null if it is
    not finite. With averaged weights, these numbers of val are theirs, and "raw": {"top1", "top5",
    "cross_entropy"} those of the others. Earlier versions wrote fewer of these fields.

    Raises InputError if the file has anything else.
    """
    if (data := read_file(path, "metrics.jsonl", JSON_BYTES)) is None:
        return []
    try:
        lines = data.decode().splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for number, record in enumerate(records):
            pattern = (
                VAL if number and _is_val(record) and not _is_val(records[number - 1]) else TRAIN
            )
            if (problem := mismatch(record, pattern)) is not None:
                raise ValueError(f"line {number + 1}: {problem}")
        _require_order(records)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{inside(path, 'metrics.jsonl')} does not hold the records of a run's epochs "
            f"({_reason(error)}); restore it, or start again in another --out"
        ) from error
    return records


def _is_val(record: Any) -> bool:
    return isinstance(record, dict) and record.get("split") == "val"


def _require_order(records: list[dict[str, Any]]) -> None:
    """Raises ValueError unless epochs rise by 1, val follows train, and all have the same terms."""
    for number, record in enumerate(records):
        expected = records[number - 1]["epoch"] + 1 if number else record["epoch"]
        if _is_val(record):
            expected -= 1
        if record["epoch"] != expected:
            raise ValueError(f"line {number + 1}: epoch {record['epoch']} where {expected} is due")
        if _is_val(record):
            continue
        terms = [*records[0]["loss"]]
        if [*record["loss"]] != terms or [*record["weight"]] != terms:
            raise ValueError(f"line {number + 1}: other terms than in line 1")


def _lack(path: Location) -> str:
    """What is wrong with a path that has no run.json."""
    if not isinstance(path, Path):
        return "has no run.json"
    if not path.is_dir():
        return "does not exist" if not path.exists() else "is not a folder"
    try:
        return "has no run.json" if any(path.iterdir()) else "is empty"
    except OSError as error:
        return f"cannot be listed ({error.strerror})"


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
