"""Draws the results of runs: final top-1 with error bars, and curves by epoch.

Runs of a kind, which differ only in their seed, are one line, their mean, in a band of one sample
deviation to either side.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from train.final_plot import final_panel
from train.plot_style import INCH, SCHEMES, look_of, say, shown
from train.reported import Kind, mean_and_deviation

FEW = 3  # kinds, for which curves of the train split and of raw weights are drawn as well
DOTS = 12  # epochs, up to which each is a dot
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (1, 3)), (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))


def draw_curves(kinds: Sequence[Kind], out: Path | BinaryIO, scheme: str = "light") -> None:
    """Writes a PNG of six panels: top-1, final top-1, val loss, loss terms, their weights, speed.

    In the panels of loss terms the line style shows the term. `scheme`: "light" or "dark".
    """
    names = [shown(kind.name) for kind in kinds]
    few = len(kinds) <= FEW
    with matplotlib.rc_context(SCHEMES[scheme]):
        columns = max(1, min(4, len(kinds), 160 // (max(map(len, names)) + 8)))
        rows = -(-len(kinds) // columns)  # of the legend
        height = 11.5 + 0.25 * rows + 0.3 * max(0, len(kinds) - 6)
        figure = Figure(figsize=(13, height))
        # Fixed margins, because layout="constrained" draws everything twice to find them.
        bottom = (0.55 + 0.25 * rows) / height
        figure.subplots_adjust(0.06, bottom, 0.985, 1 - 0.35 / height, wspace=0.16, hspace=0.3)
        (top1, final), (val, loss), (weight, speed) = figure.subplots(3, 2)
        styles = _styles(kinds)
        for number, kind in enumerate(kinds):
            look = look_of(number)
            _line(top1, kind.curve("val", "top1"), **look)
            if few:
                _line(top1, kind.curve("val", "raw.top1"), **look, style="-.", with_band=False)
                _line(top1, kind.curve("train", "top1"), **look, style=":", with_band=False)
            _line(val, kind.curve("val", "cross_entropy"), **look)
            _line(speed, kind.curve("train", "images_per_second"), **look)
            for term in _terms(kind):
                for panel, group in ((loss, "loss"), (weight, "weight")):
                    values = kind.curve("train", f"{group}.{term}")
                    _line(panel, values, **look, style=styles[term], with_band=False)
        final_panel(final, kinds)
        more = " (train dotted, raw weights dash-dotted)" if few else ""
        for panel, title, unit in (
            (top1, f"val top-1{more}", "percent"),
            (val, "val loss: cross-entropy", "nats"),
            (loss, "train loss terms, before their weights", "mean over the epoch"),
            (speed, "training speed", "images per second"),
            (weight, "weight of each term", ""),
        ):
            panel.set(title=title, xlabel="epoch", ylabel=unit)
            panel.grid(alpha=0.3)
            panel.xaxis.get_major_locator().set_params(integer=True)
        for panel in (top1, val):
            if not panel.lines:
                say(panel, "in no epoch do all runs of a kind have this number")
        ink = matplotlib.rcParams["text.color"]
        for panel in (loss, weight) if styles else ():
            named = [Line2D([], [], color=ink, linestyle=styles[t], label=t) for t in styles]
            panel.legend(handles=named, fontsize="small", labels=[shown(term) for term in styles])
        loss.set_yscale("symlog", linthresh=0.1, subs=(2, 5))
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter("{x:g}")
        speed.set_ylim(bottom=0)
        figure.legend(
            handles=[_handle(number) for number in range(len(kinds))],
            labels=names,
            loc="lower center",
            ncols=columns,
            frameon=False,
        )
        figure.savefig(out, dpi=INCH)


def band(values: Mapping[int, list[float]]) -> tuple[list[int], list[float], list[float]]:
    """Epochs, means over the runs, and sample deviations: 0 for one run."""
    found = [mean_and_deviation(each) for each in values.values()]
    return [*values], [middle for middle, _ in found], [spread or 0.0 for _, spread in found]


def _line(
    panel: Axes,
    values: Mapping[int, list[float]],
    colour: str,
    marker: str,
    style: str = "-",
    with_band: bool = True,
) -> None:
    epochs, means, spreads = band(values)
    if not epochs:
        return
    every = 1 if len(epochs) <= DOTS else len(epochs) // 8
    panel.plot(
        epochs, means, color=colour, linestyle=style, linewidth=1.6, marker=marker, markersize=3.5,
        markevery=every,
    )  # fmt: skip
    if with_band and any(spreads):
        below = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        above = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        panel.fill_between(epochs, below, above, color=colour, alpha=0.18, linewidth=0)


def _handle(number: int) -> Line2D:
    look = look_of(number)
    return Line2D([], [], color=look["colour"], marker=look["marker"], markersize=5)


def _terms(kind: Kind) -> list[str]:
    return [*kind.runs[0].train[0]["loss"]] if kind.runs[0].train else []


def _styles(kinds: Sequence[Kind]) -> dict[str, Any]:
    """The line style of each term of the losses."""
    terms = dict.fromkeys(term for kind in kinds for term in _terms(kind))
    return {term: STYLES[number % len(STYLES)] for number, term in enumerate(terms)}
