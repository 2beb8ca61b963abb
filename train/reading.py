"""Reads files of a run folder, if they are of a plausible size.

At a URL they are read whole into memory. On this machine they must be regular files: a name may
belong to a folder, a FIFO that would block for ever, a link to an endless device
(shared/files/regular.py).
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from shared.errors import InputError
from shared.files import regular
from shared.files.location import Location
from shared.files.objects import ObjectFiles

ADVICE = "remove it, or give another folder"

T = TypeVar("T")


def read_file(folder: Location, name: str, most: int) -> bytes | None:
    """The bytes of a file; None if it does not exist. Raises InputError like `open_file`."""
    if isinstance(folder, Path):
        return _told(folder / name, lambda: regular.read_regular(folder / name, most))
    try:
        return ObjectFiles(folder).read(name, most)
    except FileNotFoundError:
        return None


def has_file(folder: Location, name: str) -> bool:
    """Whether the name is taken, which on this machine may be by anything."""
    if isinstance(folder, Path):
        return (folder / name).exists()
    return ObjectFiles(folder).exists(name)


def open_file(folder: Location, name: str, most: int) -> BinaryIO | None:
    """Opens a file; None if it does not exist.

    Raises InputError if it is not a regular file, cannot be read, or has more than `most` bytes,
    StorageError if an object store fails.
    """
    if not isinstance(folder, Path):
        data = read_file(folder, name, most)
        return None if data is None else io.BytesIO(data)
    path = folder / name

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
