"""Trains a student from a cached teacher.

    python train/run.py --cache data/teacher_cache
    python train/run.py --cache data/teacher_cache --recipe resnet18.ce --out runs/plain --epochs 90
    python train/run.py --cache data/teacher_cache --recipe my_recipe.py --set lr=0.2 ema=0.999
    torchrun --nproc-per-node 8 train/run.py --cache data/teacher_cache --workers 16

It can be stopped in any way (SIGTERM and Ctrl-C save first). The same command then resumes, even in
the middle of an epoch, and on a CPU bit for bit. The loop: train/loop.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.errors import run_command
from train.flags import make_parser
from train.names import RECIPES, unknown_recipe


def main() -> int:
    flags = make_parser().parse_args()
    if flags.recipe not in RECIPES and not flags.recipe.endswith(".py"):
        raise unknown_recipe(flags.recipe)
    from train.loop import run  # here, as it brings torch: --help does not wait for that

    return run(flags)


if __name__ == "__main__":
    run_command(main)
