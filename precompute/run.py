"""Runs the teacher once over fixed views of every image and stores its outputs in a cache.

    python precompute/run.py --split train
    python precompute/run.py --split train --images data/imagenet --cache data/teacher_cache \
        --teacher resnet34 --weights IMAGENET1K_V1 --views 10 --codec half
    torchrun --nproc-per-node 8 precompute/run.py --split train ...     (on any number of machines)

It can be killed at any time. The same command then resumes, and the resulting cache is the same,
byte for byte.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from precompute.flags import make_parser
from shared.errors import run_command

EXAMPLES = (
    "python precompute/run.py --split train --images /data/imagenet --views 10",
    "python precompute/run.py --split train --images cifar10 --teacher resnet34 --stem cifar \\\n"
    "      --weights teacher.pt --cache data/cifar10_cache",
    "python precompute/run.py --split train --images /data/mine --teacher my_net.py:make \\\n"
    "      --weights my_weights.pt",
    "torchrun --nproc-per-node 8 precompute/run.py --split train --images /data/imagenet",
)


def main() -> int:
    parser = make_parser(
        "Runs the teacher once over fixed views of every image and writes what it says, its logits "
        "and the mean of every channel at its stages, into a cache. "
        "If interrupted at any point, run the same command again to resume.",
        EXAMPLES,
    )
    parser.add_argument_group("resuming").add_argument(
        "--check",
        action="store_true",
        help="compare the hash of every file, which reads all of the cache, and make again what is "
        "damaged (default: compare receipts and sizes)",
    )
    flags = parser.parse_args()
    from precompute.make import make  # here, as it brings torch: --help does not wait for that

    return make(flags)


if __name__ == "__main__":
    run_command(main)
