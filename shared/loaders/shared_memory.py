"""Checks that the batches of the loader workers fit into shared memory.

Workers hand batches over through /dev/shm, which has 64 MB by default in Docker. When it is full a
worker dies of a bus error with no mention of the cause.
"""

import os

from shared.device import processes_here
from shared.errors import InputError
from shared.units import size

SHM = "/dev/shm"
PREFETCH = 2  # batches per worker that are ready: DataLoader's default


def require_room(workers: int, batch_size: int, num_bytes: int) -> None:
    """Raises InputError if the batches in flight of all processes on this machine do not fit.

    `num_bytes` is the size of one sample. Without /dev/shm (macOS) there is nothing to check.
    """
    try:
        found = os.statvfs(SHM)
    except OSError:
        return
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    line = lacking(workers, batch_size, num_bytes, processes_here(), total, free)
    if line is not None:
        raise InputError(line)


def lacking(
    workers: int, batch_size: int, num_bytes: int, processes: int, total: int, free: int
) -> str | None:
    """The error message if the batches do not fit, else None. `total` and `free` are in bytes.

    All processes together must fit into `total`, and this one into `free`. The others may already
    have batches in flight, so comparing all of them with `free` would count those twice.
    """
    needed = (PREFETCH * workers + 1) * batch_size * num_bytes  # + 1: the batch in use
    if workers == 0 or (needed <= free and processes * needed <= total):
        return None
    here = f"{workers} workers"
    if needed <= free:
        here = f"{processes} processes with {workers} workers each"
        needed, room = processes * needed, f"{size(total)}"
    else:
        room = f"{size(free)} free"
    return (
        f"shared memory is too small: {SHM} has {room}, and {here} with batches of {batch_size} "
        f"need {size(needed)}; in Docker start the container with --shm-size, else use fewer "
        f"--workers or a smaller --batch-size"
    )
