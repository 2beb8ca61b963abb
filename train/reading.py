"""Files of a run folder are read here: regular files only, of a size that such a file can have.

Anything may lie there under their names: a folder, a FIFO that would block forever, a link to a
device that never ends.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from shared.errors import InputError


def open_regular(path: Path, most: int) -> BinaryIO | None:
    """`path`, opened; None where nothing has that name.

    InputError where it is no regular file, cannot be read, or has more than `most` bytes.
    """
    advice = "remove it, or give another folder"
    try:
        # Without O_NONBLOCK a FIFO is opened when somebody writes to it, which may be never.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character in its name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {path}: {reason}; {advice}") from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise InputError(
            f"cannot read {path}: it has {status.st_size:,} bytes where {most:,} are the most that "
            f"such a file can have; {advice}"
        )
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
    raise InputError(f"cannot read {path}: it is {kind}; {advice}")
