"""Memory that the processes of a machine share: a mapped file, which the first of them creates.

The file has a temporary name and is removed as soon as every process has it open, so that the
system frees it when the last of them has ended, however that happens. A run that is killed before
that leaves a file, which the next run in the same folder removes. A process that shares with no
other maps memory without a file, unless a folder was given.

Each process locks one byte of the file for as long as it lives. Unlike a process id, a lock cannot
belong to another process later, is seen from other containers, and is released by a zombie.
"""

import contextlib
import fcntl
import mmap
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.distributed import World, from_all
from shared.epochs.staging.room import ADVICE, choose_folder
from shared.errors import InputError
from shared.files.temporary import remove_if_left, temporary_file

NAME = "targets"  # last part of the file's name


class NodeMemory:
    """`num_bytes` of shared memory, with zeros at first. All processes of a run must create it."""

    def __init__(self, num_bytes: int, folder: Path | None, world: World) -> None:
        """Raises InputError, the same in all processes, if a machine has no room for it."""
        self.num_bytes = num_bytes
        self._local_rank = world.local_rank if world.local_size > 1 else 0
        self._local_size = world.local_size
        self._opened = ExitStack()
        self._file: int | None = None  # descriptor; None without a file
        path, problem = None, None
        try:
            path = self._create(num_bytes, folder) if self._local_rank == 0 else None
        except (InputError, OSError) as error:
            problem = _line(error)
        paths = _agreed(path, problem, world)
        try:
            if self._local_rank > 0:
                self._open(Path(str(paths[world.ranks_here.start])))
            self._map(num_bytes)
            problem = None
        except (OSError, ValueError) as error:
            problem = _line(error)
        _agreed(None, problem, world)
        if path is not None:
            path.unlink(missing_ok=True)

    def _create(self, num_bytes: int, folder: Path | None) -> Path | None:
        folder = choose_folder(num_bytes, folder, alone=self._local_size == 1)
        if folder is None:
            return None
        for left in folder.iterdir():
            if left.name.endswith(f"~{NAME}"):
                remove_if_left(left)
        path, file = self._opened.enter_context(temporary_file(folder, NAME))
        self._file = file.fileno()
        os.ftruncate(self._file, num_bytes)
        return path

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._opened.callback(os.close, self._file)

    def _map(self, num_bytes: int) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._local_rank)
        # Without a file it is shared memory too: loader workers that are forked do not copy it.
        self._map_of_all = mmap.mmap(-1 if self._file is None else self._file, num_bytes)

    def array(self, start: int, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> NDArray[Any]:
        """The array at byte `start`."""
        return np.ndarray(shape, dtype, self._map_of_all, start)

    def reserve(self, start: int, num_bytes: int) -> None:
        """Takes these bytes from the file system, before they are written.

        Without this, writing to a full file system would end the process by SIGBUS. Raises OSError
        if there is no room.
        """
        if self._file is not None and num_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, start, num_bytes)

    def has_ended(self, local_rank: int) -> bool:
        """Whether a process of this machine has ended."""
        if self._file is None or local_rank == self._local_rank:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, local_rank)
        except OSError:
            return False
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, local_rank)
        return True

    def close(self) -> None:
        """Tells the others that this process has ended. Memory is freed with the last array."""
        with contextlib.suppress(OSError):
            self._opened.close()
        self._file = None


def _agreed(given: Path | None, problem: str | None, world: World) -> list[Path | None]:
    """What each process gives. Raises the first problem that any has, in all processes."""
    answers = from_all((given, problem), world)
    for _, found in answers:
        if found is not None:
            raise InputError(found)
    return [path for path, _ in answers]


def _line(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return f"the memory for targets cannot be shared on this machine ({error}): {ADVICE}"
