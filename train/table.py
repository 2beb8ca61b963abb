"""The main function of train/report.py: a table of any number of runs, and their curves.

Runs that differ only in their seed share a row, with mean and sample deviation over the seeds.
"last" is the last validated epoch, "best" the best one of those. Of runs with averaged weights
these are the averaged ones; "raw weights" is top-1 of the others in the last validated epoch. The
last column is about the cache: for each stage, the share of the variance of the channel means that
is in 1 % of the images (shared/targets/tails.py).
"""

import argparse
import json
from statistics import mean, median, stdev
from typing import Any

from shared.errors import InputError, printable
from shared.files.location import Location, name_of
from train.comparable import not_comparable
from train.difference import needs_teacher
from train.plots import draw_curves
from train.run_files import read_metrics, read_run

COLUMNS = (
    "run", "seeds", "teacher", "epochs", "val top-1, last", "best", "raw weights",
    "val top-5, last", "train images/s", "cache bytes/view", "tails",
)  # fmt: skip
RAW = COLUMNS.index("raw weights")  # left out if no run has averaged weights
FACTS = ("identity.recipe", "identity.teacher", "identity.seed", "epochs")


def report(flags: argparse.Namespace) -> int:
    print(table(flags.runs))
    try:
        draw_curves(by_kind(flags.runs), flags.out)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the extension
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise InputError(
            f"the curves cannot be written to --out {flags.out} ({reason}): give a PNG in a folder "
            f"that exists"
        ) from error
    print(f"\ncurves: {flags.out}")
    return 0


def table(runs: list[Location]) -> str:
    """A Markdown table, one row per kind of run. Raises InputError for a run without an epoch."""
    kinds = by_kind(runs)
    marks, footnotes = not_comparable([read_run(group[0], *FACTS) for group in kinds.values()])
    found = [
        _row(name + mark, group) for (name, group), mark in zip(kinds.items(), marks, strict=True)
    ]
    rows = [COLUMNS, tuple("---" if i in (0, 2) else "---:" for i in range(len(COLUMNS))), *found]
    if all(row[RAW] == "-" for row in found):
        rows = [row[:RAW] + row[RAW + 1 :] for row in rows]
    lines = [printable("| " + " | ".join(row) + " |") for row in rows]
    return "\n".join([*lines, *(["", *footnotes] if footnotes else [])])


def by_kind(runs: list[Location]) -> dict[str, list[Location]]:
    """Groups runs that differ only in their seed, under the common start of their names."""
    kinds: dict[str, list[Location]] = {}
    for run in runs:
        identity = {k: v for k, v in read_run(run, *FACTS)["identity"].items() if k != "seed"}
        kinds.setdefault(json.dumps(identity, sort_keys=True), []).append(run)
    named: dict[str, list[Location]] = {}
    for group in kinds.values():
        name = _common_start([name_of(run) for run in group]).rstrip("-_. ") or name_of(group[0])
        # Two kinds may have the same name, like a/run and b/run.
        named[name if name not in named else str(group[0])] = group
    return named


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    same = [mine == theirs for mine, theirs in zip(first, last, strict=False)]
    return first[: [*same, False].index(False)]


def _row(name: str, runs: list[Location]) -> tuple[str, ...]:
    val = [[r for r in _records(run) if r["split"] == "val"] for run in runs]
    speeds = [
        median(r["images_per_second"] for r in _records(run) if r["split"] == "train")
        for run in runs
    ]
    facts = read_run(runs[0], *FACTS)
    cache = facts.get("cache")
    seeds = {read_run(run, *FACTS)["identity"]["seed"] for run in runs}
    done = min(sum(r["split"] == "train" for r in _records(run)) for run in runs)
    return (
        name,
        str(len(seeds)),
        facts["identity"]["teacher"] if needs_teacher(facts["identity"]["recipe"]) else "none",
        f"{done} of {facts['epochs']}",
        deviation([records[-1]["top1"] for records in val if records], len(runs)),
        deviation([max(r["top1"] for r in records) for records in val if records], len(runs)),
        deviation([records[-1]["raw"]["top1"] for records in val if _has_raw(records)], len(runs)),
        deviation([records[-1]["top5"] for records in val if records], len(runs)),
        f"{mean(speeds):.0f}",
        f"{cache['bytes_per_view']:,.0f} ({cache['codec']})" if cache else "-",
        " ".join(f"{share:.2g}" for share in (cache and cache.get("tails")) or ()) or "-",
    )


def _records(run: Location) -> list[dict[str, Any]]:
    records = read_metrics(run)
    if not records:
        raise InputError(
            f"{run} has no finished epochs to report: wait until train/run.py has finished one"
        )
    return records


def _has_raw(val: list[dict[str, Any]]) -> bool:
    return bool(val and val[-1].get("raw"))


def deviation(values: list[float], runs: int) -> str:
    """Mean and deviation of a value of each of the runs; "-" if some have none."""
    if len(values) < runs:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}%"
    return f"{mean(values):.2f} ± {stdev(values):.2f}%"
