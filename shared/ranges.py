"""Bytes of files that lie on this machine or at a URL (http://, s3://, whatever fsspec opens).

Nothing stays open and nothing is remembered but fsspec's driver, one a process, so that all of it
may be pickled, forked and called from threads. Local files fail with OSError at once; URLs are
asked with patience (store/retry.py) and end in StorageError, or FileNotFoundError where nothing is.
"""

import errno
import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from fsspec.core import strip_protocol
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError
from shared.store.object_files import driver, time_limit
from shared.store.retry import one_line, patiently

WINDOW = 8 << 20  # bytes that are asked for at once where a remote tar is read through

T = TypeVar("T")


def is_url(path: str) -> bool:
    return "://" in path


def read_range(path: str, start: int, num_bytes: int) -> bytes:
    """Bytes start..start+num_bytes, fewer only at the end of a local file."""
    if not is_url(path):
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), num_bytes, start)
    if num_bytes == 0:
        return b""  # which HTTP has no range for

    def read(store: AbstractFileSystem, name: str, limit: dict[str, float]) -> bytes:
        data: bytes = store.cat_file(name, start=start, end=start + num_bytes, **limit)
        if len(data) < num_bytes:
            raise OSError(errno.EIO, f"got {len(data)} of {num_bytes} bytes")
        return data

    data = _ask(path, read, num_bytes)
    if len(data) > num_bytes:
        raise _no_ranges(path)
    return data


def read_whole(path: str) -> bytes | None:
    """None where there is no such file."""
    try:
        with open_ranges(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def open_ranges(path: str) -> BinaryIO:
    """For reading through with many small steps forward."""
    if not is_url(path):
        return open(path, "rb")
    return io.BufferedReader(_Ranges(path, _info(path)["size"]), WINDOW)


def stamp(path: str) -> str:
    """A few words that change when the file does, or when names come into a folder or leave it.

    Size and time of a file; a store's own tag where it has one; "absent".
    """
    try:
        if not is_url(path):
            status = os.stat(path)
            size = "" if os.path.isdir(path) else status.st_size
            return f"{size} {status.st_mtime_ns}"
        info = _info(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    tags = (info.get(name) for name in ("ETag", "LastModified", "mtime", "created"))
    return f"{info['size']} {next((tag for tag in tags if tag is not None), '')}"


class _Ranges(io.RawIOBase):
    """A remote file that can seek."""

    def __init__(self, path: str, size: int) -> None:
        self._path, self._size, self._position = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        if wanted:
            buffer[:wanted] = read_range(self._path, self._position, wanted)
        self._position += wanted
        return wanted


def _info(path: str) -> dict[str, Any]:
    info: dict[str, Any] = _ask(path, lambda store, name, limit: store.info(name, **limit))
    if info["size"] is None:
        raise _no_ranges(path)
    return info


def _ask(
    path: str,
    act: Callable[[AbstractFileSystem, str, dict[str, float]], T],
    num_bytes: int = 0,
) -> T:
    def act_once() -> T:
        store = driver(path)
        try:
            return act(store, strip_protocol(path), time_limit(store, num_bytes))
        except FileNotFoundError as error:
            # fsspec's HTTP driver takes every failure to learn a size for that
            if path.startswith("http") and (cause := error.__cause__) is not None:
                status = getattr(cause, "status", None)
                if status not in (404, 410):
                    text = f"HTTP status {status}" if status else one_line(cause)
                    raise OSError(errno.EIO, text) from error
            raise

    return patiently(path, act_once)


def _no_ranges(path: str) -> InputError:
    return InputError(
        f"a server of images must know sizes and answer requests for a range of bytes: that of "
        f"{path} does not; download the files, or serve them by another server"
    )
