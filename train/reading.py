"""Reads files of a run folder, if they are regular files of a plausible size.

Their names may belong to something else: a folder, a FIFO that would block for ever, a link to an
endless device (shared/files/regular.py).
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
    """The bytes of `path`; None if it does not exist. Raises InputError like `open_regular`."""
    return _told(path, lambda: regular.read_regular(path, most))


def open_regular(path: Path, most: int) -> BinaryIO | None:
    """Opens `path`; None if it does not exist.

    Raises InputError if it is not a regular file, cannot be read, or has more than `most` bytes.
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
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path}: {reason}; {ADVICE}") from error
