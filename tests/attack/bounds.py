"""Bounds for one attempt inside a process: seconds, and memory that it may add.

A hang ends by SIGALRM, which raises in the main thread; one inside a C function that never returns
ends the process by faulthandler, with a traceback that says where.
"""

import faulthandler
import resource
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from shared.errors import InputError, StorageError

SECONDS = 10
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
    within SECONDS and with at most `memory` bytes more than the process ever had."""
    before, started = peak_bytes(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True, file=sys.__stderr__)
    signal.alarm(SECONDS)
    problem = None
    try:
        act()
    except allowed as error:
        text = str(error)
        if not text or "\n" in text or len(text) > 2000:
            problem = f"no single line: {text[:300]!r}"
    except TookTooLong:
        problem = f"more than {SECONDS} s"
    except BaseException as error:
        problem = f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    if problem is None and peak_bytes() - before > memory:
        problem = (
            f"{(peak_bytes() - before) >> 20} MiB of memory, {time.monotonic() - started:.1f} s"
        )
    return problem
