"""Errors that are not bugs, and how a command ends on them.

InputError is for mistakes of the user. Its text says what is wrong, what was found and what to do.
The command prints it as one line on stderr, without a traceback, and ends with exit code 2. It does
the same if the storage fails, or if the machine runs out of memory, disk or processes (limits.py).
A command that is asked to stop (stop.py) also ends with one line. All other exceptions are bugs and
keep their traceback.
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
from shared.threads import set_thread_environment


class InputError(ValueError):
    """The user's input cannot be used; one line: what is wrong, what was found, what to do."""


class StorageError(Exception):
    """The storage failed; one line.

    It is not an InputError, because callers treat that as a damaged block. An outage does not mean
    that a block is damaged.
    """


class BadImage(ValueError):
    """Bytes that do not decode to an image; the message says in one line what is wrong."""


def printable(text: str) -> str:
    """`text` as one line that is safe to print.

    Names may contain newlines, control characters and bytes that are not UTF-8. These are escaped:
    \\n, \\x1b, \\udcff.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def note(text: str) -> None:
    """Prints a note on stderr: one line that a user should know, though nothing failed."""
    print(f"NOTE: {printable(text)}", file=sys.stderr)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Runs `main` and ends the process with its exit code.

    After bad input, or if the machine or storage fails, it prints one line and exits with 2. If
    asked to stop by a signal, it prints one line and exits with 128 + signal.
    """
    obey_signals()
    set_thread_environment()
    threading.excepthook = _told_by_main_thread
    sys.unraisablehook = _told_once
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # printing a name that is not UTF-8 must not fail
            stream.reconfigure(errors="backslashreplace")
    code = _run(main)
    _end_with(code)
    sys.exit(code)


def _told_by_main_thread(failure: threading.ExceptHookArgs) -> None:
    """Hides errors of torch's pinning thread when a worker ends: the main thread raises one too."""
    name = failure.thread.name if failure.thread else ""
    if not (PINNING in name and isinstance(failure.exc_value, CUT_OFF)):
        threading.__excepthook__(failure)


def _told_once(unraisable: "sys.UnraisableHookArgs") -> None:
    """Hides errors that report a limit of the machine or a lost worker.

    torch reports the death of a loader worker by raising an error in a signal handler. In a
    destructor it would print a traceback, although the lost worker is reported anyway.
    """
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
        # The same lack may cause more errors while the process ends; do not report them.
        sys.unraisablehook = lambda unraisable: None
    print(f"error: {printable(line)}", file=sys.stderr)
    return 2


def _end_with(code: int) -> None:
    """Prepares for exit, which takes a moment: a signal during it only ends the process sooner."""
    # At exit, running loader workers are ended; torch's handler would report that as a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: os._exit(code))
