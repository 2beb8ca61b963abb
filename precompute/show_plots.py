"""The plots of a cache, as panels of a figure, and as PNGs for a page.

The PNGs are transparent, in colours that can be read on white and on black.
"""

import io
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from precompute.cache_statistics import BINS, CacheStatistics

matplotlib.use("Agg")

RIGHT, WRONG, ALL = "#3f9d52", "#d8603f", "#4a86c5"
INK = "#7f8790"  # readable on white and on black
NARROWEST = 3.0  # deviations that a panel of channels shows at least, to either side


def _style(panel: Axes, ink: str) -> None:
    panel.set_facecolor("none")
    panel.tick_params(colors=ink, labelsize=8)
    panel.title.set_color(ink)
    panel.title.set_fontsize(9)
    panel.xaxis.label.set_color(ink)
    panel.yaxis.label.set_color(ink)
    panel.xaxis.label.set_fontsize(8)
    panel.yaxis.label.set_fontsize(8)
    for name, spine in panel.spines.items():
        spine.set_color(ink)
        spine.set_visible(name in ("left", "bottom"))
    legend = panel.get_legend()
    if legend is not None:
        for text in legend.get_texts():
            text.set_color(ink)


def draw_accuracy(panel: Axes, found: CacheStatistics, ink: str = INK) -> None:
    """A dot for each view. No bars, as the scale begins near the lowest to show differences."""
    percents = [100 * of.right / max(1, of.samples) for of in found.of_view]
    panel.plot([str(of.view) for of in found.of_view], percents, "o-", color=ALL, linewidth=1)
    spread = max(percents) - min(percents)
    low = max(0.0, min(percents) - max(2.0, 2 * spread))
    panel.set_ylim(low, min(100.0, max(percents) + max(0.5, 0.5 * spread)))
    panel.set(title="teacher's top-1 by view", xlabel="view", ylabel="percent")
    if len(percents) > 12:
        panel.set_xticks(range(0, len(percents), -(-len(percents) // 10)))
    elif len(percents) <= 10:
        for place, percent in enumerate(percents):
            text = f"{percent:.1f}"
            above = percent + 0.03 * (panel.get_ylim()[1] - low)
            panel.text(place, above, text, ha="center", va="bottom", size=7, color=ink)
    _style(panel, ink)


def draw_confidence(panel: Axes, found: CacheStatistics, ink: str = INK) -> None:
    """How sure the teacher is, over all views: right answers, and wrong ones on top."""
    edges = np.arange(BINS) / BINS
    width = 0.92 / BINS
    if found.has_loss:
        wrong = found.in_bin - found.right_in_bin
        panel.bar(edges, found.right_in_bin, width, align="edge", color=RIGHT, label="right")
        panel.bar(edges, wrong, width, found.right_in_bin, align="edge", color=WRONG, label="wrong")
        panel.legend(fontsize=8, frameon=False, loc="best")
    else:
        panel.bar(edges, found.in_bin, width, align="edge", color=ALL)
    panel.set(title="teacher's confidence", xlabel="largest probability", ylabel="views")
    panel.set_xlim(0, 1)
    _style(panel, ink)


def draw_calibration(panel: Axes, found: CacheStatistics, ink: str = INK) -> None:
    """Share of right answers where the teacher is so sure; bins of fewer views are fainter."""
    there = found.in_bin > 0
    sure = found.confidence_in_bin[there] / found.in_bin[there]
    right = found.right_in_bin[there] / found.in_bin[there]
    weight = np.clip(found.in_bin[there] / max(1, found.in_bin.sum()) * BINS, 0.15, 1)
    panel.plot([0, 1], [0, 1], color=ink, linestyle=":", linewidth=1)
    panel.plot(sure, right, color=ALL, linewidth=1)
    panel.scatter(sure, right, color=ALL, alpha=weight, s=22, zorder=3)
    panel.set(
        title=f"calibration: off by {100 * found.calibration_error:.1f} points",
        xlabel="confidence",
        ylabel="share of right answers",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    _style(panel, ink)


def draw_channels(
    panels: Sequence[Axes],
    values: NDArray[np.float64],
    widths: Sequence[int],
    ink: str = INK,
) -> None:
    """One panel for each stage: a bar for each of its channels. `values` are standardised."""
    ends = np.cumsum(widths)[:-1]
    for stage, (panel, part) in enumerate(zip(panels, np.split(values, ends), strict=True)):
        panel.fill_between(np.arange(len(part)), part, step="mid", color=ALL, linewidth=0)
        panel.axhline(0, color=ink, linewidth=0.6)
        far = max(NARROWEST, 1.05 * float(np.abs(part).max()))
        panel.set(title=f"stage {stage + 1}: {len(part)} channels", ylim=(-far, far), xticks=[])
        panel.set_xlim(-0.5, len(part) - 0.5)
        _style(panel, ink)
        panel.spines["bottom"].set_visible(False)


PLOTS: tuple[tuple[str, Callable[[Axes, CacheStatistics, str], None], str], ...] = (
    ("has_labels", draw_accuracy, "the teacher's top-1 by view"),
    ("has_logits", draw_confidence, "histogram of the teacher's confidence"),
    ("has_loss", draw_calibration, "calibration of the teacher"),
)  # what the cache must have, how it is drawn, what it is


def statistics_pngs(found: CacheStatistics) -> list[tuple[bytes, str]]:
    """All plots that the cache allows, and what each is."""
    drawn = []
    for needed, draw, what in PLOTS:
        if getattr(found, needed):
            figure = Figure(figsize=(3.65, 2.6), layout="tight")
            draw(figure.subplots(), found, INK)
            drawn.append((_png(figure), what))
    return drawn


def channels_png(values: NDArray[np.float64], widths: Sequence[int]) -> bytes:
    """Two stages in a row."""
    columns = min(2, len(widths))
    rows = -(-len(widths) // columns)
    figure = Figure(figsize=(2.0 * columns, 1.2 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for panel in panels[len(widths) :]:
        panel.set_visible(False)
    draw_channels(panels[: len(widths)], values, widths)
    figure.subplots_adjust(left=0.085, right=0.99, bottom=0.04, top=0.9, wspace=0.18, hspace=0.35)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, transparent=True)
    return buffer.getvalue()
