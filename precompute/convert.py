"""Writes a cache again in a smaller codec, without running the teacher.

    python precompute/convert.py --cache data/teacher_cache --to data/tiny_cache --codec tiny

Which conversions are possible, and what they lose: precompute/reencode.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared import choices
from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/convert.py --to data/tiny_cache --codec tiny",
    "python precompute/convert.py --cache s3://bucket/cache --to data/compact --codec compact \\\n"
    "      --weights teacher.pt",
)


def make_parser() -> Parser:
    parser = Parser(
        "Writes a cache again in a smaller codec. The teacher does not run. "
        "If interrupted at any point, run the same command again to resume.",
        EXAMPLES,
        {"--codec": choices.CODECS},
    )
    add = parser.add_argument_group("caches").add_argument
    add("--cache", default="data/teacher_cache", metavar="DIR|URL", help="the cache to read")
    add("--to", required=True, metavar="DIR|URL", help="the cache to write; required")
    add("--codec", choices=choices.CODECS, required=True, metavar="CODEC", help="required")
    add("--split", default="train", metavar="NAME", help="train or val")
    add(
        "--teacher",
        metavar="NAME",
        help="where your own network is now, as FILE.py:FUNCTION (default: as in the cache)",
    )
    add(
        "--weights",
        metavar="NAME|FILE",
        help="the teacher's weights, where --codec derives logits (default: as in the cache)",
    )
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from precompute.reencode import convert  # here, as it brings torch: --help does not wait

    return convert(flags)


if __name__ == "__main__":
    run_command(main)
