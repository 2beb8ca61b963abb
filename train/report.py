"""Prints a table of any number of runs, and draws their results and curves.

    python train/report.py runs/A runs/B ... [--out runs/report.png] [--against runs/A]
    python train/report.py runs/* --out report.html

Runs that differ only in their seed share a row, with mean and sample deviation over the seeds.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command
from shared.files.location import parse_location

EXAMPLES = (
    "python train/report.py runs/ce runs/kd runs/cd",
    "python train/report.py runs/cd-seed* --out runs/cd.png",
    "python train/report.py runs/* --against runs/ce-seed0 --out report.html",
)


def make_parser() -> Parser:
    parser = Parser(
        "Prints a Markdown table of training runs and draws their results and curves. Runs that "
        "differ only in their seed are taken together, with mean and deviation over the seeds.",
        EXAMPLES,
    )
    parser.add_argument(
        "runs", type=parse_location, nargs="+", metavar="RUN", help="a run folder or its URL"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/report.png"),
        metavar="PNG|HTML",
        help="the picture, or a page with table, pictures and settings in one file",
    )
    parser.add_argument(
        "--against",
        type=parse_location,
        metavar="RUN",
        help="one of the runs: also print how far the others are from it, by pairs of runs with "
        "the same seed, with a 95 %% interval from three seeds on (default: no comparison)",
    )
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from train.table import report  # here, as it brings torch and matplotlib

    return report(flags)


if __name__ == "__main__":
    run_command(main)
