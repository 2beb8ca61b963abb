"""Temporary files that their writer keeps locked (flock), so that stale ones can be recognised.

    .tmp~HOST~TOKEN~NAME     host and token only make the name unique and are never parsed

A process id is not enough: zombies and threads have one too, and those of another container are not
visible. A lock is released when the last process that has the file open ends, on any machine. That
includes processes forked by the writer meanwhile, so a stale file may stay until they end. A file
that is being written is never removed.

On file systems without locks stale files are never removed.
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
    """A new file, open for writing; removed on exit if it still has its temporary name.

    Raises OSError if the folder is not writable.
    """
    path, descriptor = _create(folder, name)
    try:
        try:
            with open(descriptor, "wb", closefd=False) as file:
                yield path, file
        finally:
            # On a file system that has become read-only this fails too; suppress it, because the
            # first error is the one to report.
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        # Closing does not unlock while a process forked meanwhile has the file open as well.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def remove_if_left(path: Path) -> None:
    """Removes `path` if it is a temporary file that no process holds. Raises nothing."""
    if not path.name.startswith(PREFIX) or path.name.count("~") < 3:
        return
    with contextlib.suppress(OSError):
        # Do not follow a link or wait for a FIFO. O_RDWR because locks over NFS need a file that is
        # open for writing.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if not stat.S_ISREG(path.lstat().st_mode):
            return
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The writer may have renamed the file before releasing the lock.
            if _is_named(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def _create(folder: Path, name: str) -> tuple[Path, int]:
    """Creates a file and locks it."""
    host = socket.gethostname().replace("~", "-").replace("/", "-")
    while True:
        path = folder / f"{PREFIX}{host}~{secrets.token_hex(8)}~{name}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            return path, descriptor  # no locks here, so no other process can remove it either
        # Before flock() another process may have taken the file for a stale one and removed it.
        if _is_named(path, descriptor):
            return path, descriptor
        os.close(descriptor)


def _is_named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
