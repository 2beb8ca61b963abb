"""What a report is about: runs, read once, and kinds of runs, which differ only in their seed."""

import json
import re
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from shared.errors import InputError
from shared.files.location import Location, name_of
from train.run_files import read_metrics, read_run

Record = dict[str, Any]
FACTS = ("identity.recipe", "identity.teacher", "identity.seed", "epochs")


@dataclass(frozen=True)
class Run:
    where: Location
    facts: dict[str, Any]  # run.json
    train: tuple[Record, ...]
    val: tuple[Record, ...]

    @property
    def seed(self) -> int:
        seed: int = self.facts["identity"]["seed"]
        return seed

    def last(self, name: str) -> float | None:
        """A number of the last validated epoch; of the raw weights for "raw.NAME"."""
        return number_of(self.val[-1], name) if self.val else None

    @property
    def best(self) -> float | None:
        return max((record["top1"] for record in self.val), default=None)


@dataclass(frozen=True)
class Kind:
    name: str
    runs: tuple[Run, ...]  # one or more

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def last(self, name: str) -> list[float]:
        """A number of each run; [] if a run lacks it."""
        found = [value for run in self.runs if (value := run.last(name)) is not None]
        return found if len(found) == len(self.runs) else []

    def curve(self, split: str, name: str) -> dict[int, list[float]]:
        """Epoch -> a number of each run, for the epochs in which all of them have it."""
        records = [run.train if split == "train" else run.val for run in self.runs]
        each = [{r["epoch"]: number_of(r, name) for r in one} for one in records]
        found = {epoch: [one.get(epoch) for one in each] for epoch in each[0]}
        return {
            epoch: [value for value in values if value is not None]
            for epoch, values in found.items()
            if None not in values
        }


def number_of(record: Record, name: str) -> float | None:
    """The number under a name like "top1", "loss.cd" or "raw.top1"; None if there is none."""
    first, _, rest = name.partition(".")
    inner = record.get(first)
    return number_of(inner, rest) if rest and inner is not None else inner


def mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
    """Mean, and sample deviation (divided by n - 1) of two values or more."""
    return mean(values), stdev(values) if len(values) > 1 else None


def in_words(values: list[float], unit: str = "%", digits: int = 2) -> str:
    """Mean and deviation; "-" without a value."""
    if not values:
        return "-"
    middle, spread = mean_and_deviation(values)
    return f"{middle:.{digits}f}{'' if spread is None else f' ± {spread:.{digits}f}'}{unit}"


def read_runs(locations: list[Location]) -> list[Run]:
    """Raises InputError for what is no run, or one without a finished epoch."""
    return [_read(where) for where in locations]


def kinds_of(runs: list[Run]) -> list[Kind]:
    """Groups runs that differ only in their seed, under the common start of their names."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        identity = {key: value for key, value in run.facts["identity"].items() if key != "seed"}
        groups.setdefault(json.dumps(identity, sort_keys=True), []).append(run)
    kinds: dict[str, Kind] = {}
    for group in groups.values():
        names = [name_of(run.where) for run in group]
        name = _common_name(names)
        # Two kinds may have the same name, like a/run and b/run.
        name = name if name not in kinds else str(group[0].where)
        kinds[name] = Kind(name, tuple(group))
    return list(kinds.values())


def _read(where: Location) -> Run:
    facts, records = read_run(where, *FACTS), read_metrics(where)
    if not records:
        raise InputError(
            f"{where} has no finished epochs to report: wait until train/run.py has finished one"
        )
    train, val = (
        tuple(record for record in records if record["split"] == split)
        for split in ("train", "val")
    )
    return Run(where, facts, train, val)


def _common_name(names: list[str]) -> str:
    """The start that they share, without the word seed at its end: "cd" of cd-seed0, cd-seed1."""
    first, last = min(names), max(names)
    if first == last:
        return first
    same = [mine == theirs for mine, theirs in zip(first, last, strict=False)]
    start = first[: [*same, False].index(False)].rstrip("-_. ")
    return re.sub(r"[-_. ]+(seed|s)[-_. ]?\d*$", "", start) or start or names[0]
