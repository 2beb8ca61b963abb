"""Temporary files that tell whether their writer still lives: it holds a lock on them (flock).

    .tmp~HOST~TOKEN~NAME     host and token only keep names apart; nothing is read from them

A process number proves nothing: zombies and threads answer to it, and processes of another
container do not. A lock is gone as soon as the last process that holds the open file has ended, on
whatever machine that was. A process that the writer forked meanwhile holds it too, so that a file
that was left may stay until that one ends as well. What a writer has at hand is never removed.

File systems without locks keep what is left there.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PREFIX = ".tmp~"


@contextlib.contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file, open for writing; removed at the end if it still has its temporary name.

    Raises: OSError where the folder cannot be written to.
    """
    path, descriptor = _create(folder, name)
    try:
        try:
            with open(descriptor, "wb", closefd=False) as file:
                yield path, file
        finally:
            # On a file system that has become read-only this fails too, and the first failure is
            # the one to report.
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        # Unlocked here, not by `close`: a process forked meanwhile has the file open as well.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def remove_if_left(path: Path) -> None:
    """Removes a temporary file that no process holds; all else stays, and nothing is raised."""
    if not path.name.startswith(PREFIX) or path.name.count("~") < 3:
        return
    with contextlib.suppress(OSError):
        # Neither a link is followed nor a pipe waited for. Locks over NFS need a file that is open
        # for writing.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if not stat.S_ISREG(path.lstat().st_mode):
            return
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its writer may have given it its final name before it let go.
            if _is_named(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def _create(folder: Path, name: str) -> tuple[Path, int]:
    """A new file that this process has locked."""
    host = socket.gethostname().replace("~", "-").replace("/", "-")
    while True:
        path = folder / f"{PREFIX}{host}~{secrets.token_hex(8)}~{name}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            return path, descriptor  # no locks here: no process can take it for one that was left
        # Between the two lines above it was not locked yet, and may have been removed.
        if _is_named(path, descriptor):
            return path, descriptor
        os.close(descriptor)


def _is_named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
