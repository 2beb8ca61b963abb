"""Draws the picture with which `make demo` ends, and says in two sentences what it shows.

    python train/demo.py --teacher runs/teacher runs/ce-0 runs/ce-1 runs/rcd-0 runs/rcd-1

The first kind of runs is the baseline, the last one is what is compared with it.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command
from shared.files.location import parse_location

EXAMPLES = (
    "python train/demo.py --teacher runs/teacher runs/ce-0 runs/rcd-0",
    "python train/demo.py --teacher runs/teacher runs/ce-* runs/kd-* runs/rcd-* --out demo.png",
)


def make_parser() -> Parser:
    parser = Parser(
        "Compares students that learned from few images, without and with a teacher that learned "
        "from more: a table, two sentences and a picture. Runs that differ only in their seed "
        "share a row.",
        EXAMPLES,
    )
    add = parser.add_argument
    add(
        "runs",
        type=parse_location,
        nargs="+",
        metavar="RUN",
        help="run folders: those without a teacher first, those to compare with them last",
    )
    add(
        "--teacher",
        type=parse_location,
        required=True,
        metavar="RUN",
        help="the run that trained the teacher; required",
    )
    add(
        "--out",
        type=Path,
        default=Path("runs/demo.png"),
        metavar="PNG",
        help="the picture",
    )
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from train.demo_picture import show  # here, as it brings torch and matplotlib

    return show(flags)


if __name__ == "__main__":
    run_command(main)
