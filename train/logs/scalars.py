"""The numbers of an epoch under the names that all logs but metrics.jsonl use.

    total, learning_rate, seconds_left      loss/TERM, weight/TERM
    top1/SPLIT, top5/SPLIT, images_per_second/SPLIT, seconds/SPLIT, cross_entropy/val
    top1/val raw, top5/val raw, cross_entropy/val raw      of the raw weights beside averaged ones

"cross_entropy" is what others call val loss; "total" is the train loss, the weighted sum of terms.
"""

from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]

_TRAIN = ("total", "learning_rate", "seconds_left")
_BOTH = ("top1", "top5", "images_per_second", "seconds")
_VAL = ("top1", "top5", "cross_entropy")


def by_epoch(records: Iterable[Record]) -> dict[int, dict[str, float]]:
    """Epoch -> name -> number, for records as in metrics.jsonl. Numbers that are missing, as those
    of val in an epoch without validation, are left out."""
    found: dict[int, dict[str, float]] = {}
    for record in records:
        found.setdefault(record["epoch"], {}).update(_scalars(record))
    return found


def names_of(terms: Iterable[str], has_average: bool) -> list[str]:
    """All names that `by_epoch` can give for a recipe with these terms, in the order of a table."""
    return [
        *_TRAIN,
        *(f"{group}/{term}" for group in ("loss", "weight") for term in terms),
        *(f"{name}/train" for name in _BOTH),
        "cross_entropy/val",
        *(f"{name}/val" for name in _BOTH),
        *(f"{name}/val raw" for name in _VAL if has_average),
    ]


def _scalars(record: Record) -> dict[str, float]:
    split = record["split"]
    found = {f"{name}/{split}": record[name] for name in _BOTH}
    if split == "train":
        found |= {name: record.get(name) for name in _TRAIN}
        for group in ("loss", "weight"):
            found |= {f"{group}/{term}": value for term, value in record[group].items()}
    else:
        found["cross_entropy/val"] = record.get("cross_entropy")
        found |= {f"{name}/val raw": (record.get("raw") or {}).get(name) for name in _VAL}
    return {name: value for name, value in found.items() if value is not None}
