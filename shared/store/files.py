"""Files below one folder, of a cache split first of all: whole objects, read and written whole.

A write is atomic and durable: a temporary file (temporary.py) in the root, flush, fsync, rename
over the final name, fsync of the folder. A process that is killed leaves at most its temporary
file, which the next writer removes. A reader therefore sees a whole object or none.

Under a name there may also be what was never written here: a folder, a FIFO, a link to /dev/zero, a
file beyond all measure. None of these is read (regular.py).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from shared.errors import InputError, StorageError
from shared.regular import NotRegular, TooLarge, read_regular
from shared.store.retry import patiently_local
from shared.store.temporary import remove_if_left, temporary_file

MOST_BYTES = 1 << 32  # of a file whose size nothing tells: the keys of 100 million images fit
ATTEMPTS = 10  # to write a file that somebody removes before it has its name


class Files(Protocol):
    """What a cache needs; the other implementation is in object_files.py."""

    @property
    def root(self) -> Path | str: ...

    def read(self, path: str, most: int = MOST_BYTES) -> bytes: ...

    def exists(self, path: str) -> bool: ...

    def names(self, folder: str) -> list[str]: ...

    def write(self, path: str, data: bytes) -> None: ...

    def write_new(self, path: str, data: bytes) -> bool: ...

    def remove_stale(self) -> None: ...


class LocalFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        """FileNotFoundError where nothing has that name.

        Raises: InputError for anything but a regular file of at most `most` bytes, StorageError
        where it cannot be read.
        """
        name = self.root / path
        try:
            return patiently_local(str(name), lambda: read_regular(name, most))
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (NotRegular, TooLarge) as error:
            raise not_ours(str(name), str(error.strerror)) from error
        except OSError as error:
            raise self._cannot_read(path, error) from error

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; none where there is no folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._cannot_read(folder, error) from error

    def write(self, path: str, data: bytes) -> None:
        """InputError where that is not possible."""
        self._put(path, data, os.replace)

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes only where nothing is; False where another process came first."""
        try:
            self._put(path, data, os.link)
        except FileExistsError:
            return False
        return True

    def remove_stale(self) -> None:
        """Removes temporary files whose writers have ended, on this machine or another."""
        for name in self.names("."):
            remove_if_left(self.root / name)

    def _put(self, path: str, data: bytes, publish: Callable[[Path, Path], None]) -> None:
        """`publish` gives the written file its final name. FileExistsError is the caller's."""
        final = self.root / path
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(ATTEMPTS):
                with temporary_file(self.root, path.replace("/", "~")) as (temporary, file):
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    try:
                        publish(temporary, final)
                    except FileNotFoundError:
                        # Where locks do not reach from one machine to another, a writer there
                        # may have taken the file for one that was left.
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

    def _cannot_read(self, path: str, error: OSError) -> StorageError:
        return StorageError(
            f"{self.root / path} cannot be read: {error.strerror or error}; nothing that was "
            f"finished is lost: make it readable, then start the same command again"
        )

    def _cannot_write(self, path: str, error: OSError) -> InputError:
        return InputError(
            f"an output folder must be writable: {self.root / path}: {error.strerror or error}; "
            f"nothing that was finished is lost: make room or give it the rights to write there, "
            f"then start the same command again"
        )


def not_ours(name: str, found: str) -> InputError:
    return InputError(
        f"{name} is not a file that this program wrote: {found}; remove it, then start the command "
        f"again that made it"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
