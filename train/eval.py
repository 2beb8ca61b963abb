"""Evaluates a student on the val split: top-1, top-5 and agreement with its teacher.

    python train/eval.py --checkpoint runs/X/best.pt
    python train/eval.py --checkpoint runs/X/best.pt --cache data/teacher_cache

Definitions: train/agreement.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared import choices
from shared.commandline import Parser
from shared.errors import run_command
from shared.files.location import parse_location

EXAMPLES = (
    "python train/eval.py --checkpoint runs/kd/best.pt",
    "python train/eval.py --checkpoint runs/kd/best.pt --cache data/teacher_cache",
    "python train/eval.py --student resnet50 --checkpoint resnet50.pth --images /data/imagenet",
)


def make_parser() -> Parser:
    parser = Parser(
        "Evaluates a run's checkpoint on the val split: top-1, top-5, and with a cached val split "
        "how often it agrees with the teacher.",
        EXAMPLES,
        {"NAME, of networks": choices.NETWORKS, "--stem": choices.STEMS},
    )
    add = parser.add_argument_group("what to evaluate").add_argument
    add("--checkpoint", type=parse_location, required=True, metavar="FILE|URL",
        help="best.pt, last.pt or epochs/epoch-N.pt of a run; with --student any file of weights, "
        "or their published name; required")  # fmt: skip
    add("--cache", metavar="DIR|URL", help="with a val split: also agreement (default: none)")
    add(
        "--images",
        metavar="SOURCE",
        help="where the images are now (default: as in the cache, else as in the run)",
    )
    add = parser.add_argument_group("a network without a run.json").add_argument
    add(
        "--student",
        metavar="NAME",
        help="the network, see below (default: as in the run.json beside the checkpoint)",
    )
    add("--stem", choices=choices.STEMS, metavar="STEM", help="of a ResNet (default: imagenet)")
    add(
        "--stage-modules", metavar="NAMES", help="see train/run.py --help (default: the usual ones)"
    )
    add(
        "--size",
        type=int,
        metavar="PIXELS",
        help="of the images (default: the data's, else the library's)",
    )
    add("--mean", metavar="R,G,B", help="of the normalisation (default: the library's)")
    add("--std", metavar="R,G,B", help="of the normalisation (default: the library's)")
    add(
        "--interpolation",
        choices=choices.INTERPOLATIONS,
        metavar="NAME",
        help="bilinear or bicubic (default: the library's)",
    )
    add(
        "--crop",
        type=float,
        metavar="SHARE",
        help="of the shorter side (default: the library's, or 0.875)",
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
