"""What this machine has: memory that a process may use."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_bytes() -> int:
    """Bytes of memory that this process and its relatives may use together.

    The machine's own, or the smallest limit of the control groups that the process is in: a
    scheduler or a container allows less than the machine has.
    """
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> Iterator[int]:
    for folder in _own_groups():
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2, version 1
            try:
                text = (folder / name).read_text().strip()
            except OSError:  # no such file: not a group of this kind, or not on Linux
                continue
            if text.isdecimal():  # else it is "max"
                yield int(text)


def _own_groups() -> Iterator[Path]:
    """The folders of this process's control groups for memory, and of those around them."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if match := re.fullmatch(r"\d+:(|[^:]*\bmemory\b[^:]*):(/.*)", line):
            root = CGROUPS / "memory" if match[1] else CGROUPS
            folder = root / match[2].strip("/")
            # In a container the path may be the host's: then its last folder is not there.
            yield from (
                found for found in (folder, *folder.parents) if root in (found, *found.parents)
            )
