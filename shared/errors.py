"""The one kind of error that a user can cause, and how a command ends on it.

Text = rule, what was found, what to do: one line on stderr, exit code 2, no traceback. Everything
else is our own mistake and keeps its traceback.
"""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """Something that the user gave cannot be used; one line: rule, got, what to do."""


class StorageError(Exception):
    """The storage failed; one line. No InputError, because it says nothing about what is stored:
    who takes an InputError for a damaged block must not take an outage for one."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """Ends the process with main's exit code, or with 2 and one line on bad input.

    With 130 and one line on Ctrl-C: whatever is on the way to the disk is finished or not seen.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        print("stopped by Ctrl-C: the same command goes on where it stood", file=sys.stderr)
        code = 128 + signal.SIGINT
    except (InputError, StorageError) as error:
        # From a loader worker it comes as torch tells it: a traceback, whose last line is ours.
        kind = f"{type(error).__module__}.{type(error).__name__}: "
        print(f"error: {str(error).splitlines()[-1].removeprefix(kind)}", file=sys.stderr)
        code = 2
    # Loader workers that still run are ended at exit; torch's handler would call that a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.exit(code)
