"""The main function of train/report.py: a table of any number of runs, and their curves.

Runs that differ only in their seed share a row, with mean and sample deviation over the seeds.
"last" is the last validated epoch, "best" the best one of those; "val loss" is the cross-entropy.
Of runs with averaged weights these are the averaged ones; "raw weights" is top-1 of the others in
the last validated epoch. The last column is about the cache: for each stage, the share of the
variance of the channel means that is in 1 % of the images (shared/targets/tails.py).
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, median

from shared.errors import InputError, printable
from shared.files.location import Location
from train import paired
from train.comparable import not_comparable
from train.difference import needs_teacher
from train.plots import draw_curves
from train.report_page import write_page
from train.reported import Kind, in_words, kinds_of, read_runs

COLUMNS = (
    "run", "seeds", "teacher", "epochs", "val top-1, last", "best", "raw weights",
    "val top-5, last", "val loss, last", "train images/s", "cache bytes/view", "tails",
)  # fmt: skip
LEFT = ("run", "teacher", "")  # columns of words
FORMS = "a PNG or an HTML page"
OPTIONAL = ("raw weights", "val loss, last")  # left out if no run has them


def report(flags: argparse.Namespace) -> int:
    kinds = kinds_of(read_runs(flags.runs))
    against = None if flags.against is None else _baseline(kinds, flags.against)
    head, rows, footnotes = table_of(kinds)
    print(markdown(head, rows, footnotes))
    if against is not None:
        print(f"\nagainst {printable(against.name)}, runs with the same seed in pairs:\n")
        print(markdown(paired.HEAD, paired.rows(kinds, against), []))
    if flags.out.suffix.lower() in (".html", ".htm"):
        found = (head, rows, footnotes)
        written("report", flags.out, FORMS, lambda: write_page(flags.out, kinds, found, against))
        print(f"\npage: {flags.out}")
    else:
        written("report", flags.out, FORMS, lambda: draw_curves(kinds, flags.out))
        print(f"\ncurves: {flags.out}")
    return 0


def written(what: str, out: Path, forms: str, write: Callable[[], None]) -> None:
    """Calls `write`. Raises InputError, with the `forms` that are possible, if that fails."""
    try:
        write()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the extension
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise InputError(
            f"the {what} cannot be written to --out {out} ({reason}): give {forms} in a "
            f"folder that exists"
        ) from error


def _baseline(kinds: list[Kind], against: Location) -> Kind:
    """The kind of the run that --against names, by its folder or as the table does."""
    for kind in kinds:
        if kind.name == str(against) or any(_same(run.where, against) for run in kind.runs):
            return kind
    raise InputError(
        f"--against must name one of the runs: got {against}; give it among the runs, too, with "
        f"all its seeds"
    )


def _same(one: Location, other: Location) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def table_of(kinds: list[Kind]) -> tuple[list[str], list[list[str]], list[str]]:
    """Head, a row for each kind, and footnotes."""
    marks, footnotes = not_comparable([kind.runs[0].facts for kind in kinds])
    rows = [_row(kind, mark) for kind, mark in zip(kinds, marks, strict=True)]
    kept = [
        place
        for place, column in enumerate(COLUMNS)
        if column not in OPTIONAL or any(row[place] != "-" for row in rows)
    ]
    return [COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows], footnotes


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], footnotes: list[str]) -> str:
    rule = ["---" if column in LEFT else "---:" for column in head]
    lines = [printable("| " + " | ".join(row) + " |") for row in (head, rule, *rows)]
    return "\n".join([*lines, *(["", *footnotes] if footnotes else [])])


def _row(kind: Kind, mark: str) -> tuple[str, ...]:
    facts = kind.runs[0].facts
    cache = facts.get("cache")
    best = [run.best for run in kind.runs if run.best is not None]
    speeds = [median(record["images_per_second"] for record in run.train) for run in kind.runs]
    return (
        kind.name + mark,
        str(len(kind.seeds)),
        facts["identity"]["teacher"] if needs_teacher(facts["identity"]["recipe"]) else "none",
        f"{min(len(run.train) for run in kind.runs)} of {facts['epochs']}",
        in_words(kind.last("top1")),
        in_words(best if len(best) == len(kind.runs) else []),
        in_words(kind.last("raw.top1")),
        in_words(kind.last("top5")),
        in_words(kind.last("cross_entropy"), "", 4),
        f"{mean(speeds):.0f}",
        f"{cache['bytes_per_view']:,.0f} ({cache['codec']})" if cache else "-",
        " ".join(f"{share:.2g}" for share in (cache and cache.get("tails")) or ()) or "-",
    )
