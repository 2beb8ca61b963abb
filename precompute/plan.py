"""Measures what a precompute run and training from its cache take. Writes nothing.

    python precompute/plan.py --split train --images data/imagenet --views 10

The flags are those of precompute/run.py, and two for what else is priced: how many processes, and
machines of another size. For half a minute it runs real images of the source through decoding,
teacher, codec and format on this device. (The teacher of the built-in `digits` is trained first if
it does not exist, as in precompute/run.py.)
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from precompute.flags import add_plan_flags, make_parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/plan.py --split train --images /data/imagenet --views 10",
    "python precompute/plan.py --split train --images /data/imagenet --codec tiny --device cuda:1",
    "python precompute/plan.py --split train --images /data/imagenet --processes 64 \\\n"
    "      --node-memory 512GB",
)


def main() -> int:
    parser = make_parser(
        "Measures for half a minute what a precompute run with the same flags would take: disk, "
        "memory, hours with 1 to 16 processes, and after how many epochs of training the cache has "
        "paid off. Writes nothing.",
        EXAMPLES,
    )
    add_plan_flags(parser)
    flags = parser.parse_args()
    from precompute.plan_table import plan

    return plan(flags)


if __name__ == "__main__":
    run_command(main)
