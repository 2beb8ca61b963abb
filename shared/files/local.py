"""Reads and writes whole files below one folder, such as a cache split.

A write is atomic and durable: write a temporary file (temporary.py) in the root, flush, fsync,
rename it to the final name, fsync the folder. A reader therefore sees a whole file or none. A
process that is killed leaves at most its temporary file, which the next writer removes.

Reading distinguishes three errors: there is no file (FileNotFoundError); there is something that
this program did not write, like a FIFO, a folder or far too many bytes (InputError); the storage
fails, after some retries (StorageError).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from shared.errors import InputError, StorageError
from shared.files.in_threads import in_threads
from shared.files.protocol import MOST, Stamp, ends_early, not_ours
from shared.files.regular import (
    NotRegular,
    TooLarge,
    read_part,
    read_regular,
    regular_size,
    regular_stamps,
)
from shared.files.retry import patiently_local
from shared.files.temporary import remove_if_left, temporary_file

ATTEMPTS = 10  # to write a file whose temporary file another machine keeps removing

T = TypeVar("T")


class LocalFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str, most: int = MOST) -> bytes:
        """The bytes of a file.

        Raises FileNotFoundError if there is none, InputError if it is not a regular file or has
        more than `most` bytes (before reading any), StorageError if the storage fails."""
        try:
            return self._ask(path, lambda full: read_regular(full, most))
        except (NotRegular, TooLarge) as error:
            raise not_ours(f"{self.root / path}", str(error.strerror)) from error

    def size(self, path: str) -> int:
        """Bytes in a file. Raises as `read`."""
        found = self._ask(path, regular_size)
        if found < 0:
            raise not_ours(f"{self.root / path}", "it is not a regular file")
        return found

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop. Raises as `read`, and InputError if the file ends before `stop`."""
        try:
            data = self._ask(path, lambda full: read_part(full, start, stop))
        except NotRegular as error:
            raise not_ours(f"{self.root / path}", str(error.strerror)) from error
        if len(data) != stop - start:
            raise ends_early(f"{self.root / path}", start + len(data), stop)
        return data

    def exists(self, path: str) -> bool:
        """Whether `path` is a regular file."""
        try:
            return self._ask(path, regular_size) >= 0
        except FileNotFoundError:
            return False

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder; [] if the folder does not exist."""
        try:
            return sorted(self._ask(folder, os.listdir))
        except FileNotFoundError:
            return []

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """Name -> stamp of the regular files in a folder; {} if the folder does not exist."""
        try:
            return self._ask(folder, regular_stamps)
        except FileNotFoundError:
            return {}

    def read_listed(self, path: str, size: int) -> bytes:
        """As `read`; `size` is what a listing gave, and saves object stores a request."""
        return self.read(path)

    def sizes(self, folder: str, paths: Sequence[str]) -> dict[str, int]:
        """The sizes of those of `paths`, which lie below `folder`, that are regular files."""

        def size_of(path: str) -> int:
            try:
                return self._ask(path, regular_size)
            except FileNotFoundError:
                return -1

        found = zip(paths, in_threads(size_of, paths), strict=True)
        return {path: size for path, size in found if size >= 0}

    def _ask(self, path: str, act: Callable[[Path], T]) -> T:
        """Calls `act` with the full path and retries temporary failures."""
        full = self.root / path
        try:
            return patiently_local(str(full), lambda: act(full))
        except (NotRegular, TooLarge, FileNotFoundError):
            raise
        except NotADirectoryError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(full)) from error
        except OSError as error:
            raise StorageError(
                f"{full} cannot be read: {error.strerror or error}; nothing that was finished is "
                f"lost: allow it to be read, then start the same command again"
            ) from error

    def write(self, path: str, data: bytes) -> None:
        """Writes or replaces a file. Raises InputError if that is not possible."""
        self._put(path, lambda file: _write(file, data), os.replace)

    def write_with(self, path: str, fill: Callable[[BinaryIO], None]) -> None:
        """As `write`, for large files: `fill` writes the contents into the open file."""
        self._put(path, fill, os.replace)

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes a file unless it exists; returns whether it did. Raises InputError as `write`."""
        try:
            self._put(path, lambda file: _write(file, data), os.link)
        except FileExistsError:
            return False
        return True

    def remove_stale(self) -> None:
        """Removes temporary files whose writers, on this machine or another, have ended."""
        for name in self.names("."):
            remove_if_left(self.root / name)

    def remove(self, path: str) -> None:
        """Removes a file; nothing happens if it does not exist. Raises InputError as `write`."""
        try:
            (self.root / path).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.root / path} cannot be removed: {error.strerror or error}; get the right "
                f"to remove it, then start the same command again"
            ) from error

    def _put(
        self,
        path: str,
        fill: Callable[[BinaryIO], None],
        publish: Callable[[Path, Path], None],
    ) -> None:
        """Writes a file; `publish` gives it its final name. Passes on its FileExistsError."""
        final = self.root / path
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(ATTEMPTS):
                with temporary_file(self.root, path.replace("/", "~")) as (temporary, file):
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                    try:
                        publish(temporary, final)
                    except FileNotFoundError:
                        # Where locks do not work across machines, a writer on another machine may
                        # have removed the temporary file as stale.
                        if temporary.exists() or attempt + 1 == ATTEMPTS:
                            raise
                        continue
                break
            _sync_folder(final.parent)
        except FileExistsError as error:
            if publish is os.link and final.exists():
                raise
            raise self._cannot_write(path, error) from error
        except OSError as error:
            raise self._cannot_write(path, error) from error

    def _cannot_write(self, path: str, error: OSError) -> InputError:
        return InputError(
            f"{self.root / path} cannot be written: {error.strerror or error}; nothing that was "
            f"finished is lost: make room or get the right to write there, then start the same "
            f"command again"
        )


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
