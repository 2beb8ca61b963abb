"""Recognises errors caused by limits of the machine: memory, processes, open files, disk.

The same limit can appear as a MemoryError, as an OSError with a number, as a RuntimeError or
ImportError from torch, or as a lost loader worker. The kernel killed the worker, or the worker
ended itself with the number as its exit code (shared/loaders/worker.py).
"""

import errno
import re
from collections.abc import Iterator

AGAIN = "nothing that was finished is lost: start the same command again"
LESS = "with fewer --workers or a smaller --batch-size"
WORKER_LOST = (
    f"a loader worker was killed or ended, most likely for lack of memory or open files: {AGAIN} "
    f"{LESS}"
)
SHM_FULL = (
    f"a loader worker found no room in shared memory (/dev/shm): {AGAIN} {LESS}; in Docker, give "
    f"it more with --shm-size"
)

# With a GPU, one of torch's threads receives the batches of the workers. It fails with one of
# CUT_OFF if a worker ends while it sends a batch.
PINNING = "_pin_memory_loop"  # part of the thread's name
CUT_OFF = (EOFError, ConnectionError, FileNotFoundError)
WORKER = re.compile(
    r"DataLoader worker \(pid.*?(killed by signal|exited unexpectedly)|Pin memory thread exited",
    re.S,
)
EXIT_CODE = re.compile(r"exited unexpectedly with exit code (\d+)")
PEER = re.compile(  # gloo's messages, and NCCL's
    r"gloo.*(closed by peer|reset by peer|Broken pipe)"
    r"|remote process exited|communicator was aborted",
    re.S | re.I,
)
PEER_LOST = (
    "another process of this run has ended, and this one cannot go on without it: if it printed no "
    f"reason, it was killed, most likely for lack of memory; {AGAIN}"
)
TEXTS = {  # messages of torch and the linker, whose errors have no number
    errno.ENOMEM: re.compile(
        r"out of memory|allocate memory|bad_alloc|failed to map segment|not enough memory"
        # from oneDNN: no memory for a convolution's machine code or scratch space
        r"|could not create a primitive$",
        re.IGNORECASE,
    ),
    errno.EMFILE: re.compile(r"too many open files|items of ancdata", re.IGNORECASE),
    errno.EAGAIN: re.compile(r"can't start new thread|resource temporarily unavail", re.IGNORECASE),
    errno.ENOSPC: re.compile(r"no space left on device|file too large", re.IGNORECASE),
}
SAME = {errno.ENFILE: errno.EMFILE, errno.EDQUOT: errno.ENOSPC, errno.EFBIG: errno.ENOSPC,
        errno.EACCES: errno.EROFS, errno.EPERM: errno.EROFS}  # fmt: skip


def limit_line(error: BaseException) -> str | None:
    """One line with the limit and what to do; None if the error has another cause."""
    for each in _chain(error):
        if (line := _line(each)) is not None:
            return line
    return None


def limit_number(error: BaseException) -> int | None:
    """ENOMEM, EMFILE, EAGAIN, ENOSPC or EROFS; None if the error has another cause."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        number = SAME.get(error.errno, error.errno)
        return number if number in TEXTS or number == errno.EROFS else None
    if isinstance(error, RuntimeError | ImportError | OSError):
        return next((n for n, text in TEXTS.items() if text.search(str(error))), None)
    return None


def _line(error: BaseException) -> str | None:
    text = str(error)
    first = next((line for line in text.splitlines() if line), type(error).__name__)
    number = limit_number(error)
    if isinstance(error, RuntimeError) and PEER.search(text):
        return PEER_LOST
    if isinstance(error, RuntimeError) and WORKER.search(text):
        code = EXIT_CODE.search(text)
        number, first = int(code[1]) if code else 0, "in a loader worker"
        if "Bus error" in text or number == errno.ENOSPC:
            return SHM_FULL
        if number not in TEXTS:
            return WORKER_LOST
    if number == errno.ENOMEM:
        return f"there is not enough memory ({first}): {AGAIN} {LESS}"
    if number == errno.EMFILE:
        return (
            f"there are too many open files ({first}): {AGAIN} with a higher limit (ulimit -n) or "
            f"fewer --workers"
        )
    if number == errno.EAGAIN:
        return (
            f"no more processes or threads can be started ({first}): {AGAIN} with a higher limit "
            f"(ulimit -u) or fewer --workers"
        )
    if number in (errno.ENOSPC, errno.EROFS):
        what = "make room" if number == errno.ENOSPC else "allow access to that file"
        return f"a file cannot be used ({first}): {AGAIN} after you {what}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and contexts: libraries may wrap a MemoryError in other errors."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
