"""How a worker process begins, of a loader or of a pool: it ends with its parent and not before.

    parent                                     worker
    with held_signals(context): start it  -->  begin_worker(), first of all

Before its first line a worker is still what its parent was: a signal to the group would end it, or
run its parent's handler in it. So the parent blocks the signals while it starts workers, who
inherit that over fork and exec, and leave them blocked for good.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from typing import TypeVar

from shared.errors import InputError, StorageError
from shared.limits import CUT_OFF, WORKER_LOST, limit_number
from shared.stop import SIGNALS

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


@contextlib.contextmanager
def held_signals(context: BaseContext) -> Iterator[None]:
    """What is started inside begins with the signals blocked. This process still gets them, where
    it has other threads: then at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if context.get_start_method() != "fork":
            resource_tracker.ensure_running()  # which unblocks them at the end of its own start
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(number: int = 0) -> None:
    """First in every worker process. `number` is what DataLoader passes."""
    _end_with_parent()
    _leave_stopping_to_parent()
    # The two ways in which multiprocessing tells what its threads stumble over, and goes on.
    Queue._on_queue_feeder_error = staticmethod(lambda error, item: _give_up(error))  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, where: _give_up(error)


def _end_with_parent() -> None:
    """Else a worker whose parent was killed waits for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        # When the thread ends that started it, which is the main one; under forkserver that is the
        # server's.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid and not parent.is_alive():
            os._exit(1)  # it had ended before
    # Under fork, workers hold the sentinels of those that were forked before them: without prctl
    # they end one after the other, the last one first.
    threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _leave_stopping_to_parent() -> None:
    """SIGTERM from the parent ends a worker: that is how loaders and pools end those that hang.

    From anyone else it changes nothing, like Ctrl-C and a hang-up: the parent gets them as well.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        threading.Thread(target=_obey_parent, daemon=True).start()
        return
    # There it is not told who sent a signal: the first is the group's.
    signal.signal(signal.SIGTERM, _ignore_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _obey_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)  # not as killed by a signal, which torch's handler would tell as a failure


@dataclass(frozen=True)
class Failed:
    """In place of a batch: torch would wrap the error in a text of its own, and its number, its
    cause and its one line would be lost."""

    error: Exception

    @staticmethod
    def of(error: Exception) -> "Failed":
        if isinstance(error, MemoryError):
            error = MemoryError(str(error))  # NumPy's has arguments of its own
        error.add_note("In a loader worker:\n" + traceback.format_exc())
        return Failed(error)


# What is carried over whole; the rest are our own mistakes, which torch tells with their traceback.
CARRIED = (InputError, StorageError, MemoryError, OSError)

Batch = TypeVar("Batch")


def received(batches: Iterator[Batch | Failed]) -> Iterator[Batch]:
    """What workers send. Raises the error that one met, as it was there; InputError where one ended
    while it handed something over."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except CUT_OFF as error:
            raise InputError(WORKER_LOST) from error
        if isinstance(batch, Failed):
            raise batch.error
        yield batch


def _give_up(error: BaseException) -> None:
    """A thread of a worker that sends a batch could not: its parent would wait for it for ever.

    The exit code tells why (limits.py); else nothing is known there but that it ended.
    """
    number = limit_number(error)
    # A connection that breaks is the parent's end, or another worker's, which the parent tells.
    if number is None and not isinstance(error, EOFError | ConnectionError):
        traceback.print_exception(error)
    os._exit(number or 1)


def _ignore_once(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
