"""Draws the curves of runs: top-1, loss terms, their weights and the speed, by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from shared.errors import printable
from train.run_files import read_metrics

matplotlib.use("Agg")
STYLES = ("-", "--", "-.", ":")


def draw_curves(kinds: Mapping[str, Sequence[Path]], out: Path) -> None:
    """Writes a PNG with four panels. Each run is a line, and runs of a kind share a colour.

    In the panels of loss terms the line style shows the term.
    """
    figure = Figure(figsize=(13, 8))
    # Fixed margins, because layout="constrained" draws everything twice to find them.
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.07, top=0.95, wspace=0.14, hspace=0.28)
    (accuracy, loss), (speed, weight) = figure.subplots(2, 2)
    styles: dict[str, str] = {}
    for number, (kind, runs) in enumerate(kinds.items()):
        colour = f"C{number}"
        kind = printable(kind).replace("$", r"\$")  # an unescaped $ starts a formula
        for position, run in enumerate(runs):
            label = kind if position == 0 else None
            records = read_metrics(run)
            train = [record for record in records if record["split"] == "train"]
            val = [record for record in records if record["split"] == "val"]
            epochs = [record["epoch"] for record in train]
            accuracy.plot(epochs, [r["top1"] for r in val], color=colour, label=label)
            accuracy.plot(epochs, [r["top1"] for r in train], color=colour, linestyle=":")
            speed.plot(epochs, [r["images_per_second"] for r in train], color=colour)
            for term in train[0]["loss"] if train else ():
                style = styles.setdefault(term, STYLES[len(styles) % len(STYLES)])
                for panel, key in ((loss, "loss"), (weight, "weight")):
                    values = [record[key][term] for record in train]
                    panel.plot(epochs, values, color=colour, linestyle=style)
    for panel in (loss, weight):
        for term, style in styles.items():
            panel.plot([], [], color="black", linestyle=style, label=term)
    for panel, title, unit in (
        (accuracy, "top-1: val (train dotted)", "percent"),
        (loss, "loss terms, before their weights", "mean over the epoch"),
        (speed, "training speed", "images per second"),
        (weight, "weight of each term", ""),
    ):
        panel.set(title=title, xlabel="epoch", ylabel=unit)
        panel.grid(alpha=0.3)
        if any(not line.get_label().startswith("_") for line in panel.lines):
            panel.legend(fontsize="x-small")
    loss.set_yscale("symlog", linthresh=0.1)
    speed.set_ylim(bottom=0)
    figure.savefig(out, dpi=110)
