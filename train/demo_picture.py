"""What train/demo.py says and draws, from the metrics of finished runs.

All accuracies are those of the last epoch; the best one would have been chosen with the val images.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.errors import InputError, printable
from shared.files.location import Location
from train.reported import kinds_of, read_runs
from train.run_files import read_metrics, read_run
from train.table import in_words

matplotlib.use("Agg")
GREY, BLUE = "#6a7078", "#0b66c3"
BETWEEN = ("#c98a1b", "#7b5ea7", "#2f8f6b")  # the colours of kinds between the first and the last


@dataclass(frozen=True)
class Kind:
    """Runs that differ only in their seed."""

    name: str
    curves: tuple[dict[int, float], ...]  # of each run: epoch -> val top-1 in percent

    @property
    def last(self) -> list[float]:
        return [next(reversed(curve.values())) for curve in self.curves]


@dataclass(frozen=True)
class Comparison:
    kinds: tuple[Kind, ...]  # the baseline first, what is compared with it last
    teacher: float  # val top-1 in percent
    taught: int  # images that the teacher learned from
    samples: int  # images that the students learn from
    classes: int
    epochs: int

    @property
    def gain(self) -> float:
        return mean(self.kinds[-1].last) - mean(self.kinds[0].last)

    def title(self) -> str:
        first, last = (mean(kind.last) for kind in (self.kinds[0], self.kinds[-1]))
        return (
            f"A student with {self.samples:,} labelled images: {first:.1f}% alone, "
            f"{last:.1f}% with a cached teacher"
        )

    def sentences(self) -> tuple[str, str]:
        first, last = self.kinds[0], self.kinds[-1]
        same = f"on the same {self.samples:,} images in the same {self.epochs} epochs"
        seeds = f" (mean of {len(last.last)} seeds)" if len(last.last) > 1 else ""
        if self.gain <= 0:
            gained = f"{-self.gain:.1f} points less, so this time distillation did not help"
        elif min(last.last) <= max(first.last):
            gained = f"{self.gain:.1f} points more, but not for every seed"
        elif len(last.last) > 1:
            gained = f"{self.gain:.1f} points more, and every seed ends above all seeds without it"
        else:
            gained = f"{self.gain:.1f} points more"
        return (
            f"With labels alone ({first.name}) the student gets {mean(first.last):.1f}% of the val "
            f"images right, with the cached teacher ({last.name}) {mean(last.last):.1f}%, {same}: "
            f"{gained}{seeds}.",
            f"The teacher learned from {self.taught:,} images and gets {self.teacher:.1f}% right; "
            f"it ran once to fill the cache, and no student ran it again.",
        )

    def table(self) -> str:
        rows = [("run", "seeds", "val top-1, last epoch")]
        rows += [(kind.name, str(len(kind.last)), in_words(kind.last)) for kind in self.kinds]
        rows.append((f"teacher, of {self.taught:,} images", "1", f"{self.teacher:.2f}%"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {seeds:>{widths[1]}}  {top1:>{widths[2]}}"
            for name, seeds, top1 in rows
        )


def show(flags: argparse.Namespace) -> int:
    found = comparison(flags.runs, flags.teacher)
    print(found.table(), "", *found.sentences(), "", sep="\n")
    try:
        draw(found, flags.out)
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the extension
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise InputError(
            f"the picture cannot be written to --out {flags.out} ({reason}): give a PNG in a "
            f"folder that exists"
        ) from error
    print(f"picture  {flags.out}")
    return 0


def comparison(runs: list[Location], teacher: Location) -> Comparison:
    """Raises InputError if there is nothing to compare, or a run is not finished."""
    kinds = kinds_of(read_runs(runs))
    if len(kinds) < 2:
        raise InputError(
            f"runs of two recipes are needed to compare them, got those of {len(kinds)}: give a "
            f"baseline first and what is compared with it last"
        )
    first = read_run(runs[0], "epochs", "model")
    return Comparison(
        tuple(Kind(_words(k.name), tuple(_curve(run.where) for run in k.runs)) for k in kinds),
        next(reversed(_curve(teacher).values())),
        _samples(teacher),
        _samples(runs[0]),
        first["model"]["classes"],
        first["epochs"],
    )


def draw(found: Comparison, out: Path) -> None:
    """Left the curves by epoch, right where every seed ends."""
    figure = Figure(figsize=(11, 5.4))
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.15, top=0.8, wspace=0.14)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    figure.suptitle(_plain(found.title()), x=0.06, y=0.965, ha="left", size=15, weight="bold")
    figure.text(
        *(0.06, 0.865),
        f"{found.samples / found.classes:.0f} images a class, {found.epochs} epochs; the teacher "
        f"learned from {found.taught:,} images; val images were seen by neither",
        color=GREY,
    )
    colours = [GREY, *(BETWEEN[i % len(BETWEEN)] for i in range(len(found.kinds) - 2)), BLUE]
    for place, (kind, colour) in enumerate(zip(found.kinds, colours, strict=True)):
        label, width = _plain(kind.name), 2.5 if place == len(found.kinds) - 1 else 1.6
        for curve in kind.curves:
            left.plot([e + 1 for e in curve], [*curve.values()], color=colour, alpha=0.35, lw=1)
        epochs = [e for e in kind.curves[0] if all(e in curve for curve in kind.curves)]
        means = [mean(curve[e] for curve in kind.curves) for e in epochs]
        left.plot([e + 1 for e in epochs], means, color=colour, lw=width, marker=".", label=label)
        right.plot([place] * len(kind.last), kind.last, "o", color=colour, alpha=0.5)
        right.plot([place - 0.25, place + 0.25], [mean(kind.last)] * 2, color=colour, lw=3)
        right.text(place + 0.3, mean(kind.last), f"{mean(kind.last):.1f}", va="center", size=12)
    for panel in (left, right):
        panel.axhline(found.teacher, color="black", linestyle=":", lw=1.2)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    _finish(left, right, found)
    figure.savefig(out, dpi=100)


def _finish(left: Axes, right: Axes, found: Comparison) -> None:
    lowest = min(min(kind.last) for kind in found.kinds)
    left.set(xlabel="epoch", ylabel="val top-1, percent", ylim=(0, 102))
    left.set_title("while it learns: mean, and every seed", loc="left", size=10)
    left.legend(loc="lower right", frameon=False)
    right.set(
        xlim=(-0.5, len(found.kinds) - 0.2),
        ylim=(lowest - 2, max(found.teacher, *(max(kind.last) for kind in found.kinds)) + 1),
        xticks=range(len(found.kinds)),
        xticklabels=[_plain(kind.name).replace(" + ", "\n+ ") for kind in found.kinds],
    )
    right.set_title("after the last epoch, enlarged: a dot for every seed", loc="left", size=10)
    right.text(-0.45, found.teacher, f"teacher {found.teacher:.1f}", va="bottom", size=9)


def _samples(run: Location) -> int:
    """The training images of an epoch."""
    samples: int = read_metrics(run)[0]["samples"]
    return samples


def _curve(run: Location) -> dict[int, float]:
    """epoch -> val top-1, to the last epoch."""
    records: list[dict[str, Any]] = read_metrics(run)
    curve: dict[int, float] = {r["epoch"]: r["top1"] for r in records if r["split"] == "val"}
    epochs = read_run(run, "epochs")["epochs"]
    if epochs - 1 not in curve:
        raise InputError(
            f"{run} has not finished its {epochs} epochs: start its train/run.py again, it resumes"
        )
    return curve


def _words(name: str) -> str:
    """A folder's name as losses are written: ce+kd -> CE + KD."""
    return printable(name).upper().replace("+", " + ")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # an unescaped $ starts a formula
