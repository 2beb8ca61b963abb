"""How commands and their workers react to SIGTERM, SIGHUP and SIGINT (Ctrl-C).

Schedulers send these to every process in a group, at any moment, and some send them twice.

    command   ends at once with one line and exit code 128 + signal. Nothing that was finished is
              lost, because of the way in which files are written.
    StopRequest   a loop with unsaved work notes the signal, and stops at its next check, or as soon
              as a thread has saved the work. A second Ctrl-C ends the process at once; any other
              repetition has no effect.
    worker    ignores the signals; its parent ends it (shared/loaders/worker.py)

A signal that was ignored when the command started stays ignored, as nohup requires.
"""

import contextlib
import os
import signal
import sys
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """A command was asked to stop by a signal.

    It is not an Exception, so that handlers of exceptions do not catch it.
    """

    def __init__(self, number: int, note: str = "") -> None:
        super().__init__(number, note)
        self.signal = number
        self.note = note

    def __str__(self) -> str:
        return told(self.signal, self.note)


def told(number: int, note: str = "") -> str:
    """The line that is printed when a signal ends a command."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return f"stopped by {name}: {note and f'{note}; '}the same command resumes where it stopped"


def obey_signals() -> None:
    """From now on the signals end this process with one line, unless they are ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """A signal handler that prints one line and ends the process.

    It raises no exception, which might be swallowed or printed as a traceback if the signal comes
    during an import, a destructor or a callback.
    """
    with contextlib.suppress(Exception):  # the signal may have interrupted a print
        sys.stdout.flush()
    with contextlib.suppress(Exception):
        line_end = "\n" if sys.stderr.isatty() else ""  # keeps a progress bar visible
        os.write(sys.stderr.fileno(), f"{line_end}{told(number)}\n".encode())
    os._exit(128 + number)


class StopRequest:
    """While open, it notes signals, and `check` then raises Stopped. For the main thread only.

    with StopRequest() as stop:
        for batch in batches:
            stop.check()  # or check() of this module, without `stop`
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # the first signal received, if any
        self.unsaved = True  # if False, nothing would be lost: a signal ends the process at once
        self._saving = False  # whether a thread is still writing what the loop counts as saved
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
            return  # the process is ending; a repeated signal must still have no effect
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def check(self, note: str = "") -> None:
        """Raises Stopped if a signal was received. `note` tells the user what is kept or lost."""
        if self.signal is not None:
            raise Stopped(self.signal, note)

    def saving(self) -> None:
        """A thread begins to save: until `saved`, a signal must not end the process."""
        self._saving = True

    def saved(self) -> None:
        """The thread has saved. Ends the process if a signal came meanwhile and the loop has taken
        no further steps, because it may not check for a long time, as during an evaluation."""
        self._saving = False
        if self.signal is not None and not self.unsaved:
            end_at_once(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        # After the first signal the process is ending; another one would print a second line.
        is_first = self.signal is None
        self.signal = self.signal or number  # before _saving is read: see `saved`
        nothing_lost = not (self.unsaved or self._saving)
        if (is_first and nothing_lost) or self._interrupts > 1:
            end_at_once(number)


_open: StopRequest | None = None  # one per process, as for signal handlers


def check(note: str = "") -> None:
    """Raises Stopped if a StopRequest is open and has received a signal."""
    if _open is not None:
        _open.check(note)


def requested() -> bool:
    """Whether a StopRequest is open and has received a signal."""
    return _open is not None and _open.signal is not None
