"""The one kind of error that a user can cause, and how a command ends on it.

Its text gives the problem, what was found and what to do: one line on stderr, exit code 2, no
traceback. The same goes for what the machine refuses (limits.py). Everything else is our own
mistake and keeps its traceback. Asked to stop (stop.py), a command ends in one line too.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from shared.limits import CUT_OFF, PINNING, limit_line
from shared.stop import SIGNALS, Stopped, obey_signals


class InputError(ValueError):
    """Something that the user gave cannot be used; one line: problem, got, what to do."""


class StorageError(Exception):
    """The storage failed; one line. Not an InputError, which callers may take for a damaged block:
    an outage says nothing about what is stored."""


class BadImage(ValueError):
    """Bytes that do not decode to an image. The message is one line: what is wrong with them."""


def printable(text: str) -> str:
    """In one line that a terminal shows as it is: names may hold control characters, newlines and
    bytes that are not UTF-8. Those become \\n, \\x1b, \\udcff."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def note(text: str) -> None:
    """One line on stderr: what a user should know, though nothing fails."""
    print(f"NOTE: {printable(text)}", file=sys.stderr)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Ends the process with main's exit code; 2 and one line on bad input or where the machine
    refuses something; 128 + signal and one line where it was asked to stop."""
    obey_signals()
    threading.excepthook = _told_by_main_thread
    sys.unraisablehook = _told_once
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is not UTF-8 must not end a run
            stream.reconfigure(errors="backslashreplace")
    code = _run(main)
    _end_with(code)
    sys.exit(code)


def _told_by_main_thread(failure: threading.ExceptHookArgs) -> None:
    """What ends torch's pinning thread together with a worker is raised in the main thread, too."""
    name = failure.thread.name if failure.thread else ""
    if not (PINNING in name and isinstance(failure.exc_value, CUT_OFF)):
        threading.__excepthook__(failure)


def _told_once(unraisable: "sys.UnraisableHookArgs") -> None:
    """torch tells that a loader worker has died by an error out of a signal handler: where that
    comes up in a destructor, it would be a traceback. The loss itself is reported anyway."""
    if unraisable.exc_value is None or limit_line(unraisable.exc_value) is None:
        sys.__unraisablehook__(unraisable)


def _run(main: Callable[[], int]) -> int:
    try:
        return main()
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal
    except (InputError, StorageError) as error:
        line = str(error)
    except Exception as error:
        found = limit_line(error)
        if found is None:
            raise
        line = found
        # Whatever else goes wrong on the way out for the same reason is not reported.
        sys.unraisablehook = lambda unraisable: None
    print(f"error: {printable(line)}", file=sys.stderr)
    return 2


def _end_with(code: int) -> None:
    """The way out takes a moment: a signal in it cuts it short and changes nothing else."""
    # Loader workers that still run are ended at exit; torch's handler would call that a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: os._exit(code))
