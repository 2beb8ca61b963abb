"""Which processes share the steps of a user's own loop, and which of them can communicate."""

from torch import distributed

from shared.distributed import World, read_world
from shared.errors import InputError


def processes(rank: int | None = None, world_size: int | None = None) -> tuple[World, World]:
    """The processes that share every step, and those that this one can communicate with.

    Without arguments they are those of torch.distributed. With a rank and a number of processes
    nothing is communicated, and each process has its own memory for a view. Raises InputError if
    the numbers do not fit, or torchrun started several processes that are not connected.
    """
    if (rank is None) != (world_size is None):
        raise InputError("rank and world_size go together: give both, or none of them")
    if rank is not None and world_size is not None:
        if not 0 <= rank < world_size:
            raise InputError(
                f"rank and world_size must be 0 <= rank < world_size: got {rank} and {world_size}"
            )
        return World(rank, world_size), World()
    started = read_world()
    if not (distributed.is_available() and distributed.is_initialized()):
        if started.size > 1:
            raise InputError(
                f"this is one of {started.size} processes, and they are not connected: call "
                f"torch.distributed.init_process_group() first, or give rank and world_size"
            )
        return World(), World()
    rank, size = distributed.get_rank(), distributed.get_world_size()
    # Only the launcher knows which processes are on one machine.
    found = started if (started.rank, started.size) == (rank, size) else World(rank, size)
    return found, found
