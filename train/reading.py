"""Files of a run folder are read here: regular files only, of a size that such a file can have.

Anything may lie there under their names: a folder, a FIFO that would block forever, a link to a
device that never ends (shared/files/regular.py).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from shared.errors import InputError
from shared.files import regular

ADVICE = "remove it, or give another folder"

T = TypeVar("T")


def read_regular(path: Path, most: int) -> bytes | None:
    """All of `path`; None where nothing has that name. InputError as for `open_regular`."""
    return _told(path, lambda: regular.read_regular(path, most))


def open_regular(path: Path, most: int) -> BinaryIO | None:
    """`path`, opened; None where nothing has that name.

    InputError where it is not a regular file, cannot be read, or has more than `most` bytes.
    """

    def opened() -> BinaryIO:
        file = regular.open_regular(path)
        try:
            regular.require_size(path, os.fstat(file.fileno()).st_size, most)
        except regular.TooLarge:
            file.close()
            raise
        return file

    return _told(path, opened)


def _told(path: Path, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character in its name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path}: {reason}; {ADVICE}") from error
