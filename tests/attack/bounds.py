"""Bounds for one attempt inside a process: processor time, patience, and memory that it may add.

Work is measured in processor time, so that a busy machine makes no attempt fail; what waits without
working (on a FIFO) ends when patience does. Both end by a signal, which raises in the main thread;
what is inside a C function that never returns ends the process by faulthandler, with a traceback
that says where.
"""

import faulthandler
import resource
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from shared.errors import InputError, StorageError

SECONDS = 10  # of processor time
PATIENCE = 60  # seconds
MEMORY = 1 << 29  # bytes


class TookTooLong(BaseException):
    """No Exception: what catches all of those must not catch this."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TookTooLong


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def problem_in(
    act: Callable[[], object],
    allowed: tuple[type[Exception], ...] = (InputError, StorageError),
    memory: int = MEMORY,
) -> str | None:
    """What is wrong with `act()`: None where it returned, or raised an `allowed` error of one line,
    within SECONDS and PATIENCE and with at most `memory` bytes more than the process ever had."""
    before, started = peak_bytes(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGPROF, _too_long)
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True, file=sys.__stderr__)
    signal.alarm(PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    problem = None
    try:
        act()
    except allowed as error:
        text = str(error)
        if not text or "\n" in text or len(text) > 2000:
            problem = f"no single line: {text[:300]!r}"
    except TookTooLong:
        problem = f"more than {SECONDS} s of work or {PATIENCE} s of waiting"
    except BaseException as error:
        problem = f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    if problem is None and peak_bytes() - before > memory:
        problem = (
            f"{(peak_bytes() - before) >> 20} MiB of memory, {time.monotonic() - started:.1f} s"
        )
    return problem
