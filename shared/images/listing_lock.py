"""Lets one process of a machine list a source, while others that need the same listing wait.

Without it, eight processes of a run would list 1.28 million files at the same time. The lock is a
file that is locked with flock, which the kernel releases when a process ends in any way. It is only
about time: two processes that list at once get the same listing. So where locks do not work, like
on some network disks, the process goes on without one.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from shared.errors import note

PAUSE = 0.05  # seconds between attempts to take the lock
PATIENCE = 10.0  # seconds until a note tells what the process waits for
GO_ON = b"go on"  # at the start of the lock file
TOLD = 8  # place in it of a mark that the note was printed


class ListingLock:
    """with ListingLock(path, name) as lock: list the source, or read what another has kept."""

    def __init__(self, path: Path, name: str) -> None:
        """`path`: of the lock file, which is removed at the end. `name`: of the listing."""
        self._path, self._name = path, name
        self._file: int | None = None
        self.waited = False  # whether another process had the lock first

    def __enter__(self) -> "ListingLock":
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, flags, 0o666)
        impatient = time.monotonic() + PATIENCE
        while not self._taken():
            self.waited = True
            time.sleep(PAUSE)
            if time.monotonic() > impatient:
                impatient = float("inf")
                self._tell()
        return self

    def _tell(self) -> None:
        """Prints a note, unless another process that waits has done so."""
        with suppress(OSError):
            if self._file is None or os.pread(self._file, 1, TOLD):
                return
            os.pwrite(self._file, b"t", TOLD)
        note(f"waiting for another process of this machine that lists {self._name}")

    def _taken(self) -> bool:
        """False if another process has the lock; True also if there can be no lock."""
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self.release()
        return True

    def let_others_list(self) -> None:
        """Those that wait for this lock shall list the source themselves, all at once."""
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, GO_ON, 0)

    @property
    def others_list(self) -> bool:
        """Whether a process that had the lock called let_others_list()."""
        return self._file is not None and os.pread(self._file, len(GO_ON), 0) == GO_ON

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.let_others_list()
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()  # those that wait have it open
        self.release()
