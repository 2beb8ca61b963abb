"""A polite end: what SIGTERM, SIGHUP and SIGINT (Ctrl-C) do to a command and to its workers.

Schedulers send them to every process of a group, at any moment, and some send them twice.

    command   ends at once: one line, exit code 128 + signal. Everything is written so that this
              loses nothing that was finished.
    loop that has something to lose   (StopRequest) notes the signal and ends soon, by itself; a
              second Ctrl-C ends it at once, every other repetition changes nothing
    worker    does not heed them: its parent ends it (shared/loaders/worker.py)

A signal that was ignored when the command started stays ignored, as nohup wants it.
"""

import contextlib
import os
import signal
import sys
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """Raised where a command was asked to stop. Not an Exception, so that no handler takes it for
    one."""

    def __init__(self, number: int, note: str = "") -> None:
        super().__init__(number, note)
        self.signal = number
        self.note = note

    def __str__(self) -> str:
        return told(self.signal, self.note)


def told(number: int, note: str = "") -> str:
    """One line for the user."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return f"stopped by {name}: {note and f'{note}; '}the same command resumes where it stopped"


def obey_signals() -> None:
    """From now on they end this process, with one line."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """From inside a signal handler: an exception might come up where it is swallowed or told as a
    traceback, in an import, a destructor, a callback."""
    with contextlib.suppress(Exception):  # the signal may have come in the middle of a print
        sys.stdout.flush()
    with contextlib.suppress(Exception):
        line_end = "\n" if sys.stderr.isatty() else ""  # leaves a progress bar where it is
        os.write(sys.stderr.fileno(), f"{line_end}{told(number)}\n".encode())
    os._exit(128 + number)


class StopRequest:
    """While it is open, in the main thread, a signal is a request that `check` obeys.

    with StopRequest() as stop:
        for batch in batches:
            stop.check()  # or check(), where `stop` is not at hand
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # the first that came, if one did
        self.unsaved = True  # False: nothing would be lost now, and a signal ends the process
        self._interrupts = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        global _open
        for number in SIGNALS:
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)
        _open = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _open
        _open = None
        if self.signal is not None:
            return  # the process is on its way out, and a repeated signal still changes nothing
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def check(self, note: str = "") -> None:
        """Raises: Stopped, where a signal came. `note` tells what is kept or lost."""
        if self.signal is not None:
            raise Stopped(self.signal, note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if not self.unsaved or self._interrupts > 1:
            end_at_once(number)
        self.signal = self.signal or number


_open: StopRequest | None = None  # signals belong to the process, and so does this


def check(note: str = "") -> None:
    """Raises: Stopped, where a signal came and a StopRequest is open."""
    if _open is not None:
        _open.check(note)
