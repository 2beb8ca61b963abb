"""Packs a source into WebDataset tars of small JPEGs, to save storage and decoding time (optional).

    python precompute/pack.py --images SOURCE --split train --to DIR --shorter-side 256

DIR can then be used as a SOURCE: `precompute/run.py --images DIR`. How: precompute/packing.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from precompute.flags import add_skip_bad
from shared import choices
from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/pack.py --images /data/imagenet --split train --to data/packed",
    "python precompute/pack.py --images /data/imagenet --split val --to data/packed --quality 95",
)


def make_parser() -> Parser:
    parser = Parser(
        "Packs images into WebDataset tars of smaller JPEGs, which the other commands take as "
        "--images. Their pixels differ, so make the cache from one or the other. "
        "If interrupted at any point, run the same command again to resume.",
        EXAMPLES,
        {"SOURCE, where images come from": choices.SOURCES},
    )
    add = parser.add_argument_group("images").add_argument
    add(
        "--images",
        metavar="SOURCE",
        help="where the images are (default: data/imagenet where it exists, else digits)",
    )
    add("--split", required=True, metavar="NAME", help="train or val; required")
    add_skip_bad(add)
    add = parser.add_argument_group("tars").add_argument
    add("--to", type=Path, required=True, metavar="DIR", help="folder of the tars; required")
    add(
        "--shorter-side",
        type=int,
        default=256,
        metavar="PIXELS",
        help="larger images shrink to this",
    )
    add("--quality", type=int, default=90, metavar="N", help="quality of the JPEGs, 1 to 100")
    add("--shard-size", type=int, default=1024, metavar="N", help="images per tar")
    add("--workers", type=int, metavar="N", help="processes (default: one per core); 0: this one")
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from precompute.packing import pack  # here, as it brings NumPy and Pillow

    return pack(flags)


if __name__ == "__main__":
    run_command(main)
