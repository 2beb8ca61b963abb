"""Files of a run folder are read here: regular files only, of a size that such a file can have.

Anything may lie there under their names: a folder, a FIFO that would block forever, a link to a
device that never ends.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from shared.errors import InputError

ADVICE = "remove it, or give another folder"


def read_regular(path: Path, most: int) -> bytes | None:
    """All of `path`; None where nothing has that name. InputError as for `open_regular`."""
    if (file := open_regular(path, most)) is None:
        return None
    try:
        with file:
            data = file.read(most + 1)  # files of /proc say that they are empty
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {ADVICE}") from error
    if len(data) > most:
        raise _too_large(path, len(data), most)
    return data


def open_regular(path: Path, most: int) -> BinaryIO | None:
    """`path`, opened; None where nothing has that name.

    InputError where it is no regular file, cannot be read, or has more than `most` bytes.
    """
    try:
        # Without O_NONBLOCK a FIFO is opened when somebody writes to it, which may be never.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character in its name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {path}: {reason}; {ADVICE}") from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise _too_large(path, status.st_size, most)
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
    raise InputError(f"cannot read {path}: it is {kind}; {ADVICE}")


def _too_large(path: Path, num_bytes: int, most: int) -> InputError:
    return InputError(
        f"cannot read {path}: it has {num_bytes:,} bytes where {most:,} are the most that such a "
        f"file can have; {ADVICE}"
    )
