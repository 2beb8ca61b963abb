"""Checks that a cache is intact and agrees with the live teacher; exit code 1 and reasons if not.

    python precompute/verify.py --cache data/teacher_cache --split train --samples 256 [--repair]

What it checks: precompute/integrity.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/verify.py --cache data/teacher_cache",
    "python precompute/verify.py --cache s3://bucket/cache --samples 1024 --repair",
)


def make_parser() -> Parser:
    parser = Parser(
        "Checks the hash of every file of a cache, makes some of its views again and compares what "
        "is stored with what the live teacher says. Exit code 0: all is well; 1: something is "
        "not, with the reasons on stderr.",
        EXAMPLES,
    )
    add = parser.add_argument_group("cache").add_argument
    add("--cache", default="data/teacher_cache", metavar="DIR|URL", help="the cache to check")
    add("--split", default="train", metavar="NAME", help="train or val")
    add(
        "--samples",
        type=int,
        default=64,
        metavar="N",
        help="views to compare, in whole batches where the teacher used their statistics; 0: check "
        "only the files",
    )
    add("--repair", action="store_true", help="make damaged blocks again, and nothing else")
    add = parser.add_argument_group("teacher and images").add_argument
    add("--images", metavar="SOURCE", help="where the images are now (default: as in the cache)")
    add(
        "--teacher",
        metavar="NAME",
        help="where your own network is now, as FILE.py:FUNCTION (default: as in the cache)",
    )
    add(
        "--weights",
        metavar="NAME|FILE",
        help="where the teacher's weights are now (default: as in the cache)",
    )
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from precompute.integrity import verify  # here, as it brings torch: --help does not wait

    return verify(flags)


if __name__ == "__main__":
    run_command(main)
