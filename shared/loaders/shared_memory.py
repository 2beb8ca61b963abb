"""Room in shared memory: loader workers hand batches over through /dev/shm, 64 MB in Docker.

A worker that finds it full dies with a bus error, which says nothing of this.
"""

import os

from shared.device import processes_here
from shared.errors import InputError
from shared.units import size

SHM = "/dev/shm"
PREFETCH = 2  # batches a worker has ready: DataLoader's default


def require_room(workers: int, batch_size: int, num_bytes: int) -> None:
    """InputError where the batches in flight of this machine's processes do not fit.

    `num_bytes` are a sample's. Without /dev/shm, as on macOS, there is nothing to check.
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
    """What to tell the user; None where it fits. `total` and `free` are bytes.

    All processes must fit into the whole, and this one into what is free: by now the others may
    have batches in flight, which must not count twice.
    """
    needed = (PREFETCH * workers + 1) * batch_size * num_bytes  # 1: that is being used
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
