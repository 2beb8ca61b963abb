"""The pictures that people look at: top-1, every loss term and its weight, over the epochs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from train.folder import read_metrics

matplotlib.use("Agg")


def draw_curves(runs: Sequence[Path], out: Path) -> None:
    """One PNG with three panels, a line a run: val top-1, weighted loss, images per second."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    accuracy, loss, weight = figure.subplots(1, 3)
    for run in runs:
        records = read_metrics(run)
        train = [record for record in records if record["split"] == "train"]
        val = [record for record in records if record["split"] == "val"]
        epochs = [record["epoch"] for record in train]
        (line,) = accuracy.plot(epochs, [record["top1"] for record in val], label=run.name)
        accuracy.plot(
            epochs, [record["top1"] for record in train], color=line.get_color(), linestyle=":"
        )
        terms = list(train[0]["loss"]) if train else []
        for term, style in zip(terms, ("-", "--", "-.", ":"), strict=False):
            label = f"{run.name} {term}" if len(runs) > 1 else term
            for panel, key in ((loss, "loss"), (weight, "weight")):
                panel.plot(
                    epochs,
                    [record[key][term] for record in train],
                    linestyle=style,
                    color=line.get_color() if len(runs) > 1 else None,
                    label=label,
                )
    for panel, title, unit in (
        (accuracy, "top-1: val (train dotted)", "percent"),
        (loss, "loss terms, before their weights", "mean over the epoch"),
        (weight, "weight of each term", ""),
    ):
        panel.set(title=title, xlabel="epoch", ylabel=unit)
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize="x-small")
    loss.set_yscale("symlog", linthresh=0.1)
    figure.savefig(out, dpi=110)
