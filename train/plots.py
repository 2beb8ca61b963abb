"""Draws the curves of runs: top-1, loss terms, their weights and the speed, by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import matplotlib
from matplotlib.figure import Figure

from shared.errors import printable
from shared.files.location import Location
from train.run_files import read_metrics

matplotlib.use("Agg")
STYLES = ("-", "--", "-.", ":")


def _line(values: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return [*values], [*values.values()]


def draw_curves(kinds: Mapping[str, Sequence[Location]], out: Path | BinaryIO) -> None:
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
            judged = {r["epoch"]: r["top1"] for r in val}
            raw = {r["epoch"]: r["raw"]["top1"] for r in val if r.get("raw")}
            # A line through a single epoch would not be seen.
            marker = "." if len(val) < len(train) or len(val) == 1 else ""
            accuracy.plot(*_line(judged), color=colour, marker=marker, label=label)
            accuracy.plot(*_line(raw), color=colour, marker=marker, linestyle="-.")
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
        (accuracy, "top-1: val (train dotted, raw weights dash-dotted)", "percent"),
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
