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
    free = found.f_bavail * found.f_frsize
    if (line := lacking(workers, batch_size, num_bytes, processes_here(), free)) is not None:
        raise InputError(line)


def lacking(workers: int, batch_size: int, num_bytes: int, processes: int, free: int) -> str | None:
    """What to tell the user; None where it fits. `free` are bytes."""
    if workers == 0:
        return None
    batches = processes * (PREFETCH * workers + 1)  # and the one that is being used
    needed = batches * batch_size * num_bytes
    if needed <= free:
        return None
    here = f"{processes} processes with {workers} workers each" if processes > 1 else ""
    return (
        f"shared memory is too small: {SHM} has {size(free)} free, and "
        f"{here or f'{workers} workers'} with batches of {batch_size} need {size(needed)}; in "
        f"Docker start the container with --shm-size, else use fewer --workers or a smaller "
        f"--batch-size"
    )
