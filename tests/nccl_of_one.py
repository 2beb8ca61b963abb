"""train/run.py as one process of several, of which there is only one: every collective runs.

    torchrun --standalone --nproc-per-node 1 tests/nccl_of_one.py --cache data/teacher_cache ...

One GPU takes one process of NCCL, and a world of 1 never asks for it. Here its size is still 1, so
that all numbers are those of one process, but it does not pass for 1 where the code looks whether
there are others. For tests/test_cuda_runs.py.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train.setup
from shared.distributed import World, read_world
from shared.errors import run_command
from train.run import main


class Several(int):
    def __eq__(self, other: object) -> bool:
        return other is self

    def __gt__(self, other: int) -> bool:
        return other == 1 or super().__gt__(other)

    __ne__ = int.__ne__  # the number of processes that a run folder notes
    __hash__ = int.__hash__


if __name__ == "__main__":
    assert read_world() == World(0, 1, 0), "start it with torchrun --nproc-per-node 1"
    train.setup.read_world = lambda: World(0, Several(1), 0)
    run_command(main)
