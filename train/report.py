"""One table and one picture from any number of runs.

python train/report.py runs/A runs/B ... [--out runs/report.png]
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.errors import InputError, run_command
from train.folder import read_metrics, read_run
from train.plots import draw_curves

COLUMNS = (
    "run", "teacher", "epochs", "val top-1, last", "best", "val top-5, last",
    "train images/s", "cache bytes/view",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="A table and a picture from training runs.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("runs/report.png"), metavar="PNG")
    flags = parser.parse_args()
    print(table(flags.runs))
    draw_curves(flags.runs, flags.out)
    print(f"\ncurves: {flags.out}")
    return 0


def table(runs: list[Path]) -> str:
    """Markdown, a row a run. InputError where a folder holds no finished epoch."""
    rows = [COLUMNS, tuple("---" if i < 2 else "---:" for i in range(len(COLUMNS)))]
    rows += [_row(run) for run in runs]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(run: Path) -> tuple[str, ...]:
    facts = read_run(run)
    records = read_metrics(run)
    val: list[dict[str, Any]] = [record for record in records if record["split"] == "val"]
    if not val:
        raise InputError(
            f"a report is about finished epochs: {run} has none; let train/run.py finish one"
        )
    speeds = [record["images_per_second"] for record in records if record["split"] == "train"]
    cache = facts["cache"]
    return (
        run.name,
        facts["identity"]["teacher"],
        f"{len(val)} of {facts['epochs']}",
        f"{val[-1]['top1']:.2f}%",
        f"{max(record['top1'] for record in val):.2f}%",
        f"{val[-1]['top5']:.2f}%",
        f"{median(speeds):.0f}",
        f"{cache['bytes_per_view']:,.0f} ({cache['codec']})" if cache else "-",
    )


if __name__ == "__main__":
    run_command(main)
