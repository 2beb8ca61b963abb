"""What a machine refuses (memory, processes, open files, disk), told in one line each.

The same lack comes up in many ways: as MemoryError, as an OSError with its number, as a
RuntimeError or ImportError of torch, or as a loader worker that the kernel has killed.
"""

import errno
import re
from collections.abc import Iterator

AGAIN = "nothing that was finished is lost: start the same command again"

MEMORY = re.compile(
    r"out of memory|allocate memory|bad_alloc|failed to map segment|not enough memory"
    r"|cannot allocate|errno 12\b",
    re.IGNORECASE,
)
WORKER = re.compile(r"DataLoader worker \(pid.*(is killed by signal: (?P<by>[^.]*)|exited)", re.S)
FILES = re.compile(r"too many open files|items of ancdata|errno 24\b", re.IGNORECASE)
PROCESSES = re.compile(r"can't start new thread|resource temporarily unavailable", re.IGNORECASE)

ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RIGHTS = (errno.EROFS, errno.EACCES, errno.EPERM)


def limit_line(error: BaseException) -> str | None:
    """What was lacking and what to do; None where the error is about something else."""
    for each in _chain(error):
        if (line := _line(each)) is not None:
            return line
    return None


def _line(error: BaseException) -> str | None:
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if (worker := WORKER.search(text)) is not None:
        if worker["by"] and "Bus error" in worker["by"]:
            return (
                f"a loader worker found no room in shared memory (/dev/shm): {AGAIN} with fewer "
                f"--workers or a smaller --batch-size; in Docker, give it more with --shm-size"
            )
        return (
            f"a loader worker was killed, mostly for lack of memory: {AGAIN} with fewer --workers "
            f"or a smaller --batch-size"
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _says(error, MEMORY):
        return (
            f"there is not enough memory ({_first_line(error)}): {AGAIN} with a smaller "
            f"--batch-size or fewer --workers"
        )
    if number in (errno.EMFILE, errno.ENFILE) or _says(error, FILES):
        return (
            f"there are too many open files ({_first_line(error)}): {AGAIN} with a higher limit "
            f"(ulimit -n) or fewer --workers"
        )
    if number == errno.EAGAIN or _says(error, PROCESSES):
        return (
            f"no more processes or threads can be started ({_first_line(error)}): {AGAIN} with a "
            f"higher limit (ulimit -u) or fewer --workers"
        )
    if isinstance(error, OSError) and number in (*ROOM, *RIGHTS):
        what = "make room" if number in ROOM else "give it the rights to write there"
        return f"a file cannot be written: {error}: {AGAIN} after you {what}"
    return None


def _says(error: BaseException, pattern: re.Pattern[str]) -> bool:
    """Only of those errors that torch and the linker use for it."""
    kinds = (RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and pattern.search(str(error)) is not None


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """It and what it was raised from or beside: libraries wrap a MemoryError in what they like."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
