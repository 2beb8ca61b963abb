"""Shows what is in a cache: a page or a picture with views, the teacher's answers and statistics.

    python precompute/show.py --cache data/teacher_cache --out page.html [--worst worst.csv]

What is on it: precompute/shown.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.commandline import Parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/show.py --cache data/teacher_cache --out page.html",
    "python precompute/show.py --out page.html page.png --samples 12 --seed 1 --worst worst.csv",
    "python precompute/show.py --cache s3://bucket/cache --split val --index 12 345",
)


def make_parser() -> Parser:
    parser = Parser(
        "Shows what is in a cache: some views as the network sees them with what the teacher said "
        "about them, and for the whole split the teacher's accuracy, its confidence, and the "
        "samples whose labels may be wrong. The teacher does not run.",
        EXAMPLES,
    )
    add = parser.add_argument_group("cache").add_argument
    add("--cache", default="data/teacher_cache", metavar="DIR|URL", help="the cache to show")
    add("--split", default="train", metavar="NAME", help="train or val")
    add(
        "--images",
        metavar="SOURCE",
        help="where the images are now (default: as in the cache; if they are not found, the page "
        "shows only what the cache itself holds)",
    )
    add = parser.add_argument_group("what to show").add_argument
    add("--samples", type=int, default=8, metavar="N", help="samples to show, 0 to 40")
    add("--seed", type=int, default=0, metavar="N", help="draws which samples are shown")
    add(
        "--index",
        type=int,
        nargs="+",
        metavar="N",
        help="show these samples, by their place in the source (default: drawn with --seed)",
    )
    add(
        "--view",
        type=int,
        metavar="N",
        help="the view to show of each sample (default: the views in turn)",
    )
    add = parser.add_argument_group("where it goes").add_argument
    add(
        "--out",
        nargs="+",
        default=["data/show.html"],
        metavar="FILE",
        help="NAME.html is a page in one file, NAME.png a picture of its main parts; give one or "
        "both (default: data/show.html)",
    )
    add(
        "--worst",
        metavar="CSV",
        help="also write the 1,000 samples with the teacher's highest loss to this file, to look "
        "for wrong labels (default: none)",
    )
    return parser


def main() -> int:
    flags = make_parser().parse_args()
    from precompute.shown import show  # here, as it brings torch and matplotlib

    return show(flags)


if __name__ == "__main__":
    run_command(main)
