"""What train/demo.py says and draws, from the metrics of finished runs.

All accuracies are those of the last epoch; the best one would have been chosen with the val images.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.errors import InputError, printable
from shared.files.location import Location
from train.plot_style import shown
from train.reported import Kind, Run, in_words, kinds_of, read_runs
from train.run_files import read_run
from train.table import written

GREY, BLUE = "#6a7078", "#0b66c3"
BETWEEN = ("#c98a1b", "#7b5ea7", "#2f8f6b")  # the colours of kinds between the first and the last


@dataclass(frozen=True)
class Comparison:
    kinds: list[Kind]  # the baseline first, what is compared with it last
    teacher: float  # val top-1 in percent
    taught: int  # images that the teacher learned from
    samples: int  # images that the students learn from
    classes: int
    epochs: int

    @property
    def last(self) -> list[list[float]]:
        """Val top-1 in percent of every run of each kind."""
        return [kind.last("top1") for kind in self.kinds]

    def title(self) -> str:
        first, last = mean(self.last[0]), mean(self.last[-1])
        return (
            f"A student with {self.samples:,} labelled images: {first:.1f}% alone, "
            f"{last:.1f}% with a cached teacher"
        )

    def sentences(self) -> tuple[str, str]:
        alone, taught = self.last[0], self.last[-1]
        gain = mean(taught) - mean(alone)
        same = f"on the same {self.samples:,} images in the same {self.epochs} epochs"
        seeds = f" (mean of {len(taught)} seeds)" if len(taught) > 1 else ""
        if gain <= 0:
            gained = f"{-gain:.1f} points less, so this time distillation did not help"
        elif min(taught) <= max(alone):
            gained = f"{gain:.1f} points more, but not for every seed"
        elif len(taught) > 1:
            gained = f"{gain:.1f} points more, and every seed ends above all seeds without it"
        else:
            gained = f"{gain:.1f} points more"
        first, last = (_words(self.kinds[place]) for place in (0, -1))
        return (
            f"With labels alone ({first}) the student gets {mean(alone):.1f}% of the val images "
            f"right, with the cached teacher ({last}) {mean(taught):.1f}%, {same}: {gained}"
            f"{seeds}.",
            f"The teacher learned from {self.taught:,} images and gets {self.teacher:.1f}% right; "
            f"it ran once to fill the cache, and no student ran it again.",
        )

    def table(self) -> str:
        rows = [("run", "seeds", "val top-1, last epoch")]
        rows += [
            (_words(kind), str(len(last)), in_words(last))
            for kind, last in zip(self.kinds, self.last, strict=True)
        ]
        rows.append((f"teacher, of {self.taught:,} images", "1", f"{self.teacher:.2f}%"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {seeds:>{widths[1]}}  {top1:>{widths[2]}}"
            for name, seeds, top1 in rows
        )


def show(flags: argparse.Namespace) -> int:
    found = comparison(flags.runs, flags.teacher)
    print(found.table(), "", *found.sentences(), "", sep="\n")
    written("picture", flags.out, "a PNG", lambda: draw(found, flags.out))
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
    (teaching,) = read_runs([teacher])
    for run in (teaching, *(run for kind in kinds for run in kind.runs)):
        _require_finished(run)
    student = kinds[0].runs[0]
    return Comparison(
        kinds,
        teaching.val[-1]["top1"],
        teaching.train[0]["samples"],
        student.train[0]["samples"],
        read_run(student.where, "model")["model"]["classes"],
        student.facts["epochs"],
    )


def draw(found: Comparison, out: Path) -> None:
    """Left the curves by epoch, right where every seed ends."""
    figure = Figure(figsize=(11, 5.4))
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.15, top=0.8, wspace=0.14)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    figure.suptitle(found.title(), x=0.06, y=0.965, ha="left", size=15, weight="bold")
    figure.text(
        *(0.06, 0.865),
        f"{found.samples / found.classes:.0f} images a class, {found.epochs} epochs; the teacher "
        f"learned from {found.taught:,} images; val images were seen by neither",
        color=GREY,
    )
    colours = [GREY, *(BETWEEN[i % len(BETWEEN)] for i in range(len(found.kinds) - 2)), BLUE]
    for place, (kind, colour) in enumerate(zip(found.kinds, colours, strict=True)):
        width = 2.5 if place == len(found.kinds) - 1 else 1.6
        for run in kind.runs:
            epochs, top1 = zip(*((r["epoch"] + 1, r["top1"]) for r in run.val), strict=True)
            left.plot(epochs, top1, color=colour, alpha=0.35, lw=1)
        curve = {epoch + 1: mean(each) for epoch, each in kind.curve("val", "top1").items()}
        left.plot(
            [*curve], [*curve.values()], color=colour, lw=width, marker=".",
            label=shown(_words(kind)),
        )  # fmt: skip
        last = kind.last("top1")
        right.plot([place] * len(last), last, "o", color=colour, alpha=0.5)
        right.plot([place - 0.25, place + 0.25], [mean(last)] * 2, color=colour, lw=3)
        right.text(place + 0.3, mean(last), f"{mean(last):.1f}", va="center", size=12)
    for panel in (left, right):
        panel.axhline(found.teacher, color="black", linestyle=":", lw=1.2)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    _finish(left, right, found)
    figure.savefig(out, dpi=100)


def _finish(left: Axes, right: Axes, found: Comparison) -> None:
    every = [top1 for last in found.last for top1 in last]
    left.set(xlabel="epoch", ylabel="val top-1, percent", ylim=(0, 102))
    left.set_title("while it learns: mean, and every seed", loc="left", size=10)
    left.legend(loc="lower right", frameon=False)
    right.set(
        xlim=(-0.5, len(found.kinds) - 0.2),
        ylim=(min(every) - 2, max(found.teacher, *every) + 1),
        xticks=range(len(found.kinds)),
        xticklabels=[shown(_words(kind)).replace(" + ", "\n+ ") for kind in found.kinds],
    )
    right.set_title("after the last epoch, enlarged: a dot for every seed", loc="left", size=10)
    right.text(-0.45, found.teacher, f"teacher {found.teacher:.1f}", va="bottom", size=9)


def _require_finished(run: Run) -> None:
    epochs = run.facts["epochs"]
    if not run.val or run.val[-1]["epoch"] != epochs - 1:
        raise InputError(
            f"{run.where} has not finished its {epochs} epochs: start its train/run.py again to "
            f"resume it"
        )


def _words(kind: Kind) -> str:
    """A folder's name as losses are written: ce+kd -> CE + KD."""
    return printable(kind.name).upper().replace("+", " + ")
