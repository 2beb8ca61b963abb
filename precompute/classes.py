"""Makes the per-class statistics that some losses need, once, from a cache.

    python precompute/classes.py --cache data/teacher_cache [--samples-per-class 732]

What they are: shared/targets/classes.py. What it does: precompute/class_statistics.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/classes.py --cache data/teacher_cache",
    "python precompute/classes.py --cache s3://bucket/cache --samples-per-class 256",
)


def make_parser() -> Parser:
    parser = Parser(
        "Computes class centres, mean predictions and distances between classes from one view of a "
        "cache, for losses that need them, and writes them to classes.safetensors beside its "
        "manifest. The teacher does not run. A file that is there and intact is left alone.",
        EXAMPLES,
    )
    add = parser.add_argument_group("cache").add_argument
    add("--cache", default="data/teacher_cache", metavar="DIR|URL", help="the cache to read")
    add("--split", default="train", metavar="NAME", help="train or val")
    add("--view", type=int, default=0, metavar="N", help="the view to read")
    add(
        "--samples-per-class",
        type=int,
        default=732,  # ImageNet's smallest class: with it the distances are as WKD published them
        metavar="N",
        help="compare the logits of up to N samples of each class for the distances, and no more "
        "than the smallest class has",
    )
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from precompute.class_statistics import make_classes  # here, as it brings torch

    return make_classes(flags)


if __name__ == "__main__":
    run_command(main)
