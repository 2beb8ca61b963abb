"""Reads ranges of bytes from local files or URLs (http://, s3://, any that fsspec opens).

No file stays open, and the only state is fsspec's driver, one per process and server. So everything
can be pickled, and used from threads and after a fork. Temporary failures are retried (retry.py),
then raise StorageError. A missing file raises FileNotFoundError. Local files must be regular; their
other permanent errors are raised as OSError.

HTTP: 404 and 410 mean that there is no such file. Other 4xx are permanent, except 408, 425 and 429;
everything else may be temporary. A server may ignore the range and send the whole file, which is
detected before the body is read.
"""

import asyncio
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.asyn import sync
from fsspec.core import strip_protocol
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError
from shared.files.drivers import driver, time_limit
from shared.files.regular import TooLarge, open_regular, read_regular
from shared.files.retry import one_line, patiently, patiently_local

WINDOW = 8 << 20  # bytes per request when a remote tar is read from start to end
T = TypeVar("T")


def is_url(path: str) -> bool:
    return "://" in path


def absolute(path: str) -> Path:
    """The absolute path for a user's `path`. Raises InputError for ~NAME of an unknown user."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(f"no home folder is known for {path[:200]}: give the full path") from error


def read_range(path: str, start: int, num_bytes: int) -> bytes:
    """Bytes start..start+num_bytes; fewer only at the end of a local file."""
    if num_bytes == 0:
        return b""  # HTTP has no empty ranges
    if not is_url(path):

        def read_local() -> bytes:
            with open_regular(path, buffered=False) as file:
                return os.pread(file.fileno(), num_bytes, start)

        return patiently_local(path, read_local)

    def read(store: AbstractFileSystem, name: str, limit: dict[str, float]) -> bytes:
        if path.startswith("http"):
            data: bytes = sync(store.loop, _get_range, store, name, start, num_bytes, **limit)
        else:
            data = store.cat_file(name, start=start, end=start + num_bytes, **limit)
        if len(data) < num_bytes:
            raise OSError(errno.EIO, f"got {len(data)} of {num_bytes} bytes")
        return data

    data = _ask(path, read, num_bytes)
    if len(data) > num_bytes:
        raise _no_ranges(path)
    return data


def read_whole(path: str, limit: int) -> bytes | None:
    """The bytes of a file, None if there is none. Raises TooLarge above `limit` bytes."""
    try:
        if not is_url(path):
            return patiently_local(path, lambda: read_regular(path, limit))
        size = _info(path)["size"]
        if size > limit:
            raise TooLarge(errno.EFBIG, f"{size:,} bytes are more than the limit of {limit:,}")
        return read_range(path, 0, size)
    except FileNotFoundError:
        return None


def open_ranges(path: str) -> BinaryIO:
    """Opens a file for reading forward in many small steps."""
    if not is_url(path):
        return open_regular(path)
    return io.BufferedReader(_Ranges(path, _info(path)["size"]), WINDOW)


def stamp(path: str) -> str:
    """A text that changes when a file changes, or when names are added to or removed from a folder.

    It is the size and modification time (or the store's own tag), or "absent".
    """
    try:
        if not is_url(path):
            status = patiently_local(path, lambda: os.stat(path))
            size = "" if os.path.isdir(path) else status.st_size
            return f"{size} {status.st_mtime_ns}"
        info = _info(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    tags = (info.get(name) for name in ("ETag", "LastModified", "mtime", "created"))
    return f"{info['size']} {next((tag for tag in tags if tag is not None), '')}"


class _Ranges(io.RawIOBase):
    """A seekable remote file."""

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
    if info["size"] is None or info.get("partial") is False:
        raise _no_ranges(path)
    return info


async def _get_range(store: Any, url: str, start: int, num_bytes: int) -> bytes:
    """Requests a range. fsspec's `cat_file` reads the whole file if a server ignores ranges."""
    session = await store.set_session()
    options = dict(store.kwargs)
    options["headers"] = {
        **options.get("headers", {}),
        "Range": f"bytes={start}-{start + num_bytes - 1}",
        "Accept-Encoding": "identity",
    }
    async with session.get(store.encode_url(url), **options) as answer:
        if answer.status >= 400:
            raise _http_error(answer.status)
        whole = start == 0 and answer.headers.get("Content-Length") == str(num_bytes)
        if answer.status != 206 and not whole:
            raise _no_ranges(url)
        try:
            data: bytes = await answer.content.readexactly(num_bytes)
        except asyncio.IncompleteReadError as error:
            data = error.partial
    return data


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
            # fsspec's HTTP driver raises this for any failure to get the size
            if path.startswith("http") and (cause := error.__cause__) is not None:
                if status := getattr(cause, "status", None):
                    raise _http_error(status) from error
                if isinstance(cause, ValueError):  # not a valid URL
                    raise OSError(errno.EINVAL, one_line(cause)) from error
                raise OSError(errno.EIO, one_line(cause)) from error
            raise

    return patiently(path, act_once)


def _http_error(status: int) -> OSError:
    text = f"HTTP status {status}"
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "no such file")
    if status in (401, 403, 407):
        return PermissionError(errno.EACCES, text)
    passes = status >= 500 or status in (408, 425, 429)
    return OSError(errno.EIO if passes else errno.EINVAL, text)


def _no_ranges(path: str) -> InputError:
    return InputError(
        f"the server does not send parts of files: {path}; tars are read image by image, so the "
        f"server must know sizes and answer requests with Range: download the files, or use "
        f"another server"
    )
