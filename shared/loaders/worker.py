"""Start-up of worker processes (loaders and pools), so that they end with their parent, not before.

    parent                                     worker
    with held_signals(context): start it  -->  begin_worker(), before anything else

Until begin_worker() runs, a worker has the signal handlers of its parent, or the defaults: a signal
sent to the process group would run the parent's handler in it or kill it. So the parent blocks the
signals while it starts workers. They inherit the mask across fork and exec and keep the signals
blocked.
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
from typing import TYPE_CHECKING, Any, TypeVar

from shared.errors import InputError, StorageError
from shared.limits import CUT_OFF, WORKER_LOST, limit_number
from shared.stop import SIGNALS

if TYPE_CHECKING:  # some users of this file have no need of torch
    from torch.utils.data import DataLoader

PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


@contextlib.contextmanager
def held_signals(context: BaseContext) -> Iterator[None]:
    """Processes started inside begin with SIGNALS blocked.

    This process receives a signal sent meanwhile on leaving the block, or at once if another thread
    can take it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if context.get_start_method() != "fork":
            resource_tracker.ensure_running()  # this unblocks the signals when it has started
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(number: int = 0) -> None:
    """To be called first in every worker process. DataLoader passes the worker's `number`."""
    _end_with_parent()
    _leave_stopping_to_parent()
    # multiprocessing reports errors of its threads in these two ways and continues; end instead.
    Queue._on_queue_feeder_error = staticmethod(lambda error, item: _give_up(error))  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, where: _give_up(error)


def _end_with_parent() -> None:
    """Without this, a worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        # The kernel sends the signal when the thread that started this process ends: the parent's
        # main thread, or under forkserver that of the server.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid and not parent.is_alive():
            os._exit(1)  # the parent ended before prctl
    # Under fork, a worker holds open the sentinels of the workers forked before it. Without prctl
    # they therefore end one after another, the last one first.
    threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _leave_stopping_to_parent() -> None:
    """Makes the worker obey SIGTERM from its parent only, and ignore Ctrl-C and SIGHUP.

    Loaders and pools send SIGTERM to workers that hang. A SIGTERM from anyone else, Ctrl-C and
    SIGHUP are left to the parent, which receives them as well.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        threading.Thread(target=_obey_parent, daemon=True).start()
        return
    # Elsewhere the sender is unknown: assume that the first SIGTERM went to the whole group.
    signal.signal(signal.SIGTERM, _ignore_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _obey_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)  # a death by signal would make torch's handler report a failure


@dataclass(frozen=True)
class Failed:
    """An error that a worker sends in place of a batch.

    Left to torch, the error would be wrapped in a text of torch's own, without its errno, its cause
    and its one-line message."""

    error: Exception

    @staticmethod
    def of(error: Exception) -> "Failed":
        if isinstance(error, MemoryError):
            error = MemoryError(str(error))  # NumPy's subclass takes other arguments
        error.add_note("In a loader worker:\n" + traceback.format_exc())
        return Failed(error)


# Errors sent to the parent whole. Any other is a bug, which torch reports with a traceback.
CARRIED = (InputError, StorageError, MemoryError, OSError)

Batch = TypeVar("Batch")


def received(batches: Iterator[Batch | Failed]) -> Iterator[Batch]:
    """The batches that the workers send.

    Raises the original error of a worker that failed, and InputError if a worker died while
    handing a batch over."""
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


def end_workers(loader: "DataLoader[Any]") -> None:
    """Ends the workers of a loader now, even if an iterator over it, or a traceback, lives on."""
    if (running := loader._iterator) is not None and loader.num_workers:
        loader._iterator = None
        running._shutdown_workers()  # type: ignore[attr-defined]


def _give_up(error: BaseException) -> None:
    """Ends a worker whose sending thread failed; the parent would wait for the batch for ever.

    The exit code tells the parent which limit was hit (limits.py), the only fact that reaches it.
    """
    number = limit_number(error)
    # A broken connection means that the parent, or another worker, ended. The parent reports it.
    if number is None and not isinstance(error, EOFError | ConnectionError):
        traceback.print_exception(error)
    os._exit(number or 1)


def _ignore_once(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
