"""The picture of docs/tails.png, from results of tails.py.

    python tests/bench/tails_plot.py CIFAR-10=a.json CIFAR-100=b.json --out docs/tails.png

Left: where the variance of the channel means lies. Right: what each set of losses gains over CE,
mean and 95 % interval over the seeds.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from statistics import mean, stdev

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import matplotlib
from matplotlib.figure import Figure

from tests.bench.tails_table import T95

matplotlib.use("Agg")
GAUSSIAN = 0.04  # of the variance of a Gaussian channel, in the farthest 1 %
ARMS = {
    "kd": "KD, T = 1",
    "kd, T = 4": "KD, T = 4",
    "cd": "CD",
    "cd+gkd": "CD + GKD",
    "cd+gkd+edt": "CD + GKD + EDT",
    "rcd": "RCD",
    "rcd+gkd": "RCD + GKD",
    "rcd+gkd+edt": "RCD + GKD + EDT",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    pairs = [text.split("=", 1) for text in flags.results]
    results = {name: json.loads(Path(file).read_text()) for name, file in pairs}
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    width = 0.8 / len(results)
    for number, (name, result) in enumerate(results.items()):
        colour, shift = f"C{number}", (number - (len(results) - 1) / 2) * width
        shares = result["tails"]["eval"]
        left.bar([s + shift for s in range(len(shares))], shares, width, color=colour, label=name)
        for place, arm in enumerate(ARMS):
            gains = [
                mine - plain
                for mine, plain in zip(
                    result["top1"][f"{arm} [eval]"], result["top1"]["ce [eval]"], strict=True
                )
            ]
            n = len(gains)
            half = T95[n - 2] * stdev(gains) / math.sqrt(n)
            right.barh(place + shift, mean(gains), width, xerr=half, color=colour, capsize=2)
    left.axhline(GAUSSIAN, color="black", linestyle=":", label="a Gaussian channel")
    left.set_xticks(range(len(shares)), [f"stage {stage + 1}" for stage in range(len(shares))])
    left.set(title="share of the variance held by the farthest 1 % of images", ylim=(0, 1))
    left.legend(fontsize="small")
    right.set_yticks(range(len(ARMS)), list(ARMS.values()))
    right.invert_yaxis()
    right.set(title="top-1 above plain training (CE), points", xlabel="with 95 % intervals")
    right.grid(axis="x", alpha=0.3)
    figure.savefig(flags.out, dpi=110)


if __name__ == "__main__":
    main()
