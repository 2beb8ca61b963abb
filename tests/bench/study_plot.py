"""Draws docs/views.png and docs/study.png: accuracy by number of views, and by recipe.

    python tests/bench/study_plot.py --views docs/views.png
    python tests/bench/study_plot.py --work DIR --views docs/views.png --losses docs/study.png

DIR is the --work of study.py. Without it the views are as plan.py knows them, without deviations.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from precompute.views_advice import MEASURED
from tests.bench.study import LOSSES, PAIRED, TAUGHT, VIEWS
from tests.bench.study_table import tops
from train.recipes import get_recipe

matplotlib.use("Agg")
COLOURS = ("#0072b2", "#d55e00")
LOSSES_IN_WORDS = {
    "cifar.resnet20.ce": "CE",
    "kd": "CE + KD",
    "dkd": "CE + DKD",
    "dist": "CE + DIST",
    "at": "CE + AT",
    "srrl": "CE + SRRL",
    "cd.ce": "CE + CD",
    "cd.ce.kdv2": "CE + GKD + CD",
    "cd.kdv2.lrdv2": "CD + GKD + EDT",
    "rcd.kdv2.lrdv2": "RCD + GKD + EDT",
    "dkd.cd": "CE + DKD + CD",
    "srrl.cd": "CE + SRRL + CD",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--views", type=Path)
    parser.add_argument("--losses", type=Path)
    flags = parser.parse_args()
    runs = None if flags.work is None else flags.work / "runs"
    if flags.views is not None:
        draw_views(runs, flags.views)
    if flags.losses is not None and runs is not None:
        draw_losses(runs, flags.losses)


def draw_views(runs: Path | None, path: Path) -> None:
    figure = Figure(figsize=(10.4, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    title = "CIFAR-10, ResNet-34 → ResNet-18, 10,000 images,\n32 epochs, one H200"
    _curves(left, _known("CIFAR-10, "), title)
    found = _known("CIFAR-100, ")
    if runs is not None:
        names = zip(found, PAIRED, strict=True)
        found = {name: {k: tops(runs, f"{recipe}.k{k}") for k in VIEWS} for name, recipe in names}
    title = "CIFAR-100, ResNet-56 → ResNet-8, 2,000 images,\n40 epochs, two CPU cores"
    _curves(right, found, title)
    figure.savefig(path, dpi=110)


def _known(of: str) -> dict[str, dict[int, list[float]]]:
    return {
        name.removeprefix(of): {views: [top1] for views, top1 in found.items()}
        for name, found in MEASURED.items()
        if name.startswith(of)
    }


def _curves(axes: Axes, curves: Mapping[str, Mapping[int, Sequence[float]]], title: str) -> None:
    for (name, points), colour in zip(curves.items(), COLOURS, strict=True):
        views = [k for k, values in points.items() if values]
        error = [stdev(points[k]) if len(points[k]) > 1 else 0.0 for k in views]
        top1 = [mean(points[k]) for k in views]
        axes.errorbar(views, top1, error, label=name, color=colour, marker="o", capsize=3)
    axes.set_xscale("log", base=2)
    ticks = sorted({k for points in curves.values() for k in points})
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.set(title=title, xlabel="views an image in the cache", ylabel="val top-1, %")
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)
    axes.legend()


def draw_losses(runs: Path, path: Path) -> None:
    """Ours with deviation, and the published accuracy of the same recipe in its own column."""
    found = [(recipe, tops(runs, recipe)) for recipe in LOSSES]
    found = sorted(((r, values) for r, values in found if values), key=lambda item: mean(item[1]))
    names = [LOSSES_IN_WORDS[recipe.removeprefix(TAUGHT)] for recipe, _ in found]
    figure = Figure(figsize=(10, 0.34 * len(found) + 1.2), layout="constrained")
    ours, theirs = figure.subplots(1, 2, sharey=True)
    rows = range(len(found))
    ours.errorbar(
        [mean(values) for _, values in found],
        rows,
        xerr=[stdev(values) if len(values) > 1 else 0.0 for _, values in found],
        fmt="o",
        color=COLOURS[0],
        capsize=3,
    )
    published = [get_recipe(recipe).paper_top1_error for recipe, _ in found]
    known = [row for row in rows if published[row] is not None]
    theirs.plot([100 - float(published[row] or 0) for row in known], known, "o", color=COLOURS[1])
    for row, (_, values) in zip(rows, found, strict=True):
        text = f"{mean(values):.1f}"
        ours.annotate(text, (mean(values), row), (0, 5), textcoords="offset points", ha="center")
    for row in known:
        top1 = 100 - float(published[row] or 0)
        theirs.annotate(f"{top1:.2f}", (top1, row), (0, 5), textcoords="offset points", ha="center")
    ours.set_yticks(rows, names)
    ours.set(title="ours: 2,000 images, 40 epochs", xlabel="val top-1, %")
    theirs.set(title="published: 50,000 images, 240 epochs", xlabel="test top-1, %")
    for axes in (ours, theirs):
        axes.grid(alpha=0.3)
        axes.margins(x=0.1)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
