"""Measures what a precompute run would take: disk, time, epochs to break even. Writes nothing.

    python precompute/plan.py --split train --images data/imagenet --views 10

The flags are those of precompute/run.py. For about 15 seconds it runs real images of the source
through decoding, teacher, codec and format on this device. (The teacher of the built-in `digits` is
trained first if it does not exist, as in precompute/run.py.)
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from precompute.flags import make_parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/plan.py --split train --images /data/imagenet --views 10",
    "python precompute/plan.py --split train --images /data/imagenet --codec tiny --device cuda:1",
)


def main() -> int:
    flags = make_parser(
        "Measures for about 15 seconds what a precompute run with the same flags would take: disk, "
        "hours, and after how many epochs of training the cache has paid off. Writes nothing.",
        EXAMPLES,
    ).parse_args()
    from precompute.plan_table import plan

    return plan(flags)


if __name__ == "__main__":
    run_command(main)
