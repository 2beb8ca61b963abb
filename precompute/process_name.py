"""Names of processes, unique over all machines, from which a process on the same machine can tell
whether the named one is still alive.

    PLACE-PID-START-TOKEN    PLACE stands for what the PID is unique in: one boot of one machine, or
                             one container; START tells a process from a later one with its PID
"""

import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

NAME = re.compile(r"([0-9a-f]{16})-(\d{1,10})-(\d{0,20})-[0-9a-f]{16}")


def own_name() -> str:
    """A new name for this process."""
    return f"{_place()}-{os.getpid()}-{_start_of(os.getpid())}-{secrets.token_hex(8)}"


def is_process_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def is_alive(name: str) -> bool | None:
    """Whether the process is alive; None if that cannot be known here."""
    found = NAME.fullmatch(name)
    if found is None or found[1] != _place():
        return None
    return _start_of(int(found[2])) == found[3]


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        place = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        place = socket.gethostname()
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _start_of(pid: int) -> str | None:
    """When a process was started, in ticks since boot; "" if unknown, None if it has ended."""
    if Path("/proc/self/stat").exists():
        try:
            # pid (name) state ..., of which the 22nd is the start. A name may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # a process of another user
        pass
    return ""
