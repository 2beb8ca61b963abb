"""Evaluates a student on the val split: top-1, top-5 and agreement with its teacher.

    python train/eval.py --checkpoint runs/X/best.pt
    python train/eval.py --checkpoint runs/X/best.pt --cache data/teacher_cache

Definitions: train/agreement.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python train/eval.py --checkpoint runs/kd/best.pt",
    "python train/eval.py --checkpoint runs/kd/best.pt --cache data/teacher_cache",
)


def make_parser() -> Parser:
    parser = Parser(
        "Evaluates a run's checkpoint on the val split: top-1, top-5, and with a cached val split "
        "how often it agrees with the teacher.",
        EXAMPLES,
    )
    add = parser.add_argument_group("what to evaluate").add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE",
        help="best.pt or last.pt in a run folder; required")  # fmt: skip
    add("--cache", metavar="DIR|URL", help="with a val split: also agreement (default: none)")
    add(
        "--images",
        metavar="SOURCE",
        help="where the images are now (default: as in the cache, else as in the run)",
    )
    add = parser.add_argument_group("speed").add_argument
    add(
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one per core beside a GPU, at most 16; none on a CPU)",
    )
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from train.agreement import evaluate_checkpoint  # here, as it brings torch

    return evaluate_checkpoint(flags)


if __name__ == "__main__":
    run_command(main)
