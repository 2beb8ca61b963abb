"""Finds rows in a report that are not comparable with the others, and says why."""

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
    """(one mark per run, footnotes), from the results of read_run.

    A run gets a mark for each fact that differs from the most common value. A fact that is missing
    from a run.json gives no mark (earlier versions did not record the val images).
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
