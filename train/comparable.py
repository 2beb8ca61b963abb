"""Which rows of a report stand beside each other without being comparable, and why."""

from collections import Counter
from typing import Any

MARKS = "*†‡§"
WHAT = (
    "other training images",
    "other val images",
    "another number of epochs",
    "other views of the val images",
)


def not_comparable(runs: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """(a mark a run, the footnotes), from what read_run gave.

    A run is marked by what differs from most of the runs. A fact that is missing from a run.json,
    as val images are from those of earlier versions, marks nothing.
    """
    marks = [""] * len(runs)
    footnotes = []
    for mark, what, values in zip(MARKS, WHAT, zip(*map(_facts, runs), strict=True), strict=True):
        told = Counter(value for value in values if value is not None)
        if len(told) < 2:
            continue
        usual = told.most_common(1)[0][0]
        footnotes.append(f"{mark} not comparable with the other runs: {what}")
        for position, value in enumerate(values):
            if value is not None and value != usual:
                marks[position] += mark
    return marks, footnotes


def _facts(run: dict[str, Any]) -> tuple[Any, ...]:
    identity = run["identity"]
    views = identity.get("val_policy")
    return identity.get("images"), identity.get("val"), run["epochs"], views
