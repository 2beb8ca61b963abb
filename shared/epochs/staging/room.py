"""Chooses the folder of the file that the processes of a machine share (--stage)."""

import os
import re
import tempfile
from pathlib import Path

from shared.errors import InputError
from shared.machine import memory_bytes
from shared.units import size

SHM = Path("/dev/shm")
SPARE = 1 << 30  # bytes to leave to others, or a sixteenth of all there is if that is less
ADVICE = (
    "give a folder with more room with --stage DIR, or use a recipe that needs fewer targets or a "
    "cache with a smaller codec (precompute/convert.py --codec)"
)


def choose_folder(num_bytes: int, asked: Path | None, alone: bool) -> Path | None:
    """A folder on this machine with room for the file; None for memory without a file.

    It is `asked`, if given; else memory (/dev/shm), if there is enough, and then the folder for
    temporary files. A process that shares with no other (`alone`) needs no file in memory. Raises
    InputError if there is no room.
    """
    if asked is not None:
        return _require_room(asked, num_bytes)
    in_memory = available_memory()
    fits = num_bytes + _spare(memory_bytes()) <= in_memory
    if fits and alone:
        return None
    if fits and SHM.is_dir() and num_bytes + _spare(_total(SHM)) <= _free(SHM):
        return SHM
    disk = Path(tempfile.gettempdir())
    if num_bytes <= _free(disk):
        return disk
    shm = f"{size(_free(SHM))} free in {SHM}, " if SHM.is_dir() and not alone else ""
    raise InputError(
        f"there is no room for the targets of a view on this machine: they need {size(num_bytes)}, "
        f"and it has {size(in_memory)} of memory, {shm}{size(_free(disk))} in {disk}; {ADVICE}"
    )


def _require_room(folder: Path, num_bytes: int) -> Path:
    if not folder.is_dir():
        raise InputError(
            f"--stage must be a folder: {folder} is not a folder of this machine; create it"
        )
    free = _free(folder)
    if num_bytes > free:
        raise InputError(
            f"--stage {folder} is too small: it has {size(free)} free, and the targets of a view "
            f"need {size(num_bytes)}; {ADVICE}"
        )
    return folder


def available_memory() -> int:
    """Bytes that a process can still take; at most what its control group leaves."""
    try:
        text = Path("/proc/meminfo").read_text()
        found = int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):  # not on Linux
        found = memory_bytes()
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = (group / "memory.stat").read_text()
        cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
        return min(found, most - used + (int(cached[1]) if cached else 0))
    except (OSError, ValueError):  # no such group, or "max"
        return found


def _spare(total: int) -> int:
    return min(SPARE, total // 16)


def _total(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
