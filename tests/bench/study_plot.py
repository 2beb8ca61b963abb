"""Draws docs/views.png and docs/study.png: accuracy by number of views, and by recipe.

    python tests/bench/study_plot.py --views docs/views.png
    python tests/bench/study_plot.py --work DIR --views docs/views.png --losses docs/study.png

DIR is the --work of study.py. Without it there is only what plan.py knows, which is from
`tails.py --arms views` on one H200.
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
    panels = 1 if runs is None else 2
    figure = Figure(figsize=(5.2 * panels, 3.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    title = "CIFAR-10, ResNet-34 → ResNet-18, 10,000 images,\n32 epochs, one H200"
    _curves(axes[0], {name: _single(found) for name, found in MEASURED.items()}, title)
    if runs is not None:
        found = {
            recipe.removeprefix(TAUGHT).removesuffix(".ce").upper(): {
                k: tops(runs, f"{recipe}.k{k}") for k in VIEWS
            }
            for recipe in PAIRED
        }
        title = "CIFAR-100, ResNet-56 → ResNet-8, 2,000 images,\n40 epochs, two CPU cores"
        _curves(axes[1], found, title)
    figure.savefig(path, dpi=110)


def _single(found: Mapping[int, float]) -> dict[int, list[float]]:
    return {views: [top1] for views, top1 in found.items()}


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
    names = [recipe.removeprefix(TAUGHT).removeprefix("cifar.resnet20.") for recipe, _ in found]
    figure = Figure(figsize=(9, 0.4 * len(found) + 1.2), layout="constrained")
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
    ours.set_yticks(rows, names)
    ours.set(title="ours: 2,000 images, 40 epochs", xlabel="val top-1, %")
    theirs.set(title="published: 50,000 images, 240 epochs", xlabel="test top-1, %")
    for axes in (ours, theirs):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
