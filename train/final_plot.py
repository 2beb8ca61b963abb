"""Draws the final top-1 of kinds of runs, best first, with error bars over the seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.plot_style import INCH, SCHEMES, look_of, say, shown
from train.reported import Kind, in_words, mean_and_deviation


def draw_final(kinds: Sequence[Kind], out: Path | BinaryIO, scheme: str = "light") -> None:
    """Writes a PNG of the final top-1 alone."""
    with matplotlib.rc_context(SCHEMES[scheme]):
        height = 1.1 + 0.42 * len(kinds)
        figure = Figure(figsize=(9, height))
        figure.subplots_adjust(0.02, 0.55 / height, 0.98, 1 - 0.35 / height)
        final_panel(figure.subplots(), kinds)
        figure.savefig(out, dpi=INCH)


def ranked(kinds: Sequence[Kind]) -> list[tuple[int, float, float | None]]:
    """(place in `kinds`, mean, deviation) of the final top-1, best first; none without it."""
    found = [
        (number, *mean_and_deviation(values))
        for number, kind in enumerate(kinds)
        if (values := kind.last("top1"))
    ]
    return sorted(found, key=lambda each: -each[1])


def final_panel(panel: Axes, kinds: Sequence[Kind]) -> None:
    """A row for each kind: its mean with an error bar, and a faint dot for each run."""
    found = ranked(kinds)
    for row, (number, middle, spread) in enumerate(found):
        kind, look = kinds[number], look_of(number)
        values = kind.last("top1")
        if spread is not None:
            panel.plot(values, [row] * len(values), "o", color=look["colour"], alpha=0.35, ms=4)
        panel.errorbar(
            middle, row, xerr=spread, color=look["colour"], fmt=look["marker"], capsize=4, ms=7
        )
        text = f"{in_words(values, '')}  n = {len(values)}"
        for place, side, words in ((0.015, "left", shown(kind.name)), (0.985, "right", text)):
            panel.text(
                place, row - 0.4, words, ha=side, va="center", fontsize="small",
                transform=panel.get_yaxis_transform(),
            )  # fmt: skip
    panel.set(title="val top-1, last epoch: mean ± deviation over seeds", xlabel="percent")
    panel.set_yticks([])
    panel.set_ylim(len(found) - 0.6, -0.7)
    panel.grid(axis="x", alpha=0.3)
    if not found:
        say(panel, "no kind of run has been validated")
