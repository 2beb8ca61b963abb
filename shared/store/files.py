"""Files below one folder, of a cache split first of all: whole objects, read and written whole.

A write is atomic and durable: a temporary file `.tmp~host~process~thread~name` in the root, flush,
fsync, rename over the final name, fsync of the folder. A process that is killed leaves at most its
temporary file, which the next writer on this machine removes. A reader therefore sees a whole
object or none.
"""

import os
import socket
import threading
from pathlib import Path
from typing import Protocol

from shared.errors import InputError


class Files(Protocol):
    """What a cache needs; the other implementation is in object_files.py."""

    @property
    def root(self) -> Path | str: ...

    def read(self, path: str) -> bytes: ...

    def exists(self, path: str) -> bool: ...

    def names(self, folder: str) -> list[str]: ...

    def write(self, path: str, data: bytes) -> None: ...

    def write_new(self, path: str, data: bytes) -> bool: ...

    def remove_stale(self) -> None: ...


class LocalFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """FileNotFoundError where there is none."""
        return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; none where there is no folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, path: str, data: bytes) -> None:
        temporary = self._temporary(path)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            final = self._final(path)
            os.replace(temporary, final)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._cannot_write(path, error) from error
        _sync_folder(final.parent)

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes only where nothing is; False where another process came first."""
        temporary = self._temporary(path)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            final = self._final(path)
            os.link(temporary, final)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._cannot_write(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(final.parent)
        return True

    def remove_stale(self) -> None:
        """Removes temporary files of this machine's dead processes."""
        for name in self.names("."):
            match name.split("~", 3):
                case [".tmp", host, pid, _] if host == _host() and not _alive(int(pid)):
                    (self.root / name).unlink(missing_ok=True)

    def _temporary(self, path: str) -> Path:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(path, error) from error
        name = path.replace("/", "~")
        return self.root / f".tmp~{_host()}~{os.getpid()}~{threading.get_ident()}~{name}"

    def _final(self, path: str) -> Path:
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        return final

    def _cannot_write(self, path: str, error: OSError) -> InputError:
        return InputError(
            f"an output folder must be writable: {self.root / path}: {error.strerror}; nothing "
            f"that was finished is lost: mend it and start the same command again"
        )


def _host() -> str:
    return socket.gethostname().replace("~", "-")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
