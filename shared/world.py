"""Which processes a run has, and which of them are on this machine.

torchrun sets RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. A single process is a world of
size 1.
"""

import os
from dataclasses import dataclass

from shared.device import processes_here
from shared.errors import InputError


@dataclass(frozen=True)
class World:
    rank: int = 0
    size: int = 1
    local_rank: int = 0  # number of this process on its machine, which chooses the GPU
    local_size: int = 1  # processes on this machine that share memory; their ranks are consecutive

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def ranks_here(self) -> range:
        """The ranks of the processes that share memory with this one, itself among them."""
        start = self.rank - self.local_rank if self.local_size > 1 else self.rank
        return range(start, start + self.local_size)


def read_world() -> World:
    """The World in RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE.

    Without LOCAL_WORLD_SIZE it is not known which processes are on one machine, and each of them
    has a memory of its own. Raises InputError if the variables are invalid.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name) for name in names]
    if found[1] is None:
        return World()
    try:
        rank, size, local_rank = (int(value or 0) for value in found)
    except ValueError:
        rank, size, local_rank = -1, -1, -1
    if not 0 <= rank < size or local_rank < 0:
        raise InputError(
            f"RANK and WORLD_SIZE must be 0 <= rank < size: got {found[0]} and {found[1]}; start "
            f"with torchrun, or unset them"
        )
    world = World(rank, size, local_rank, processes_here())
    here = world.ranks_here
    if world.local_size > 1 and (rank not in here or here.start < 0 or here.stop > size):
        raise InputError(
            f"LOCAL_RANK and LOCAL_WORLD_SIZE do not fit RANK and WORLD_SIZE: process {rank} of "
            f"{size} is said to be number {local_rank} of {world.local_size} on its machine; start "
            f"with torchrun, or unset LOCAL_WORLD_SIZE"
        )
    return world
