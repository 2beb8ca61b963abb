"""Opens and reads the user's local files, and refuses anything that is not a regular file.

A path may name a folder, a FIFO (opening it blocks for ever), a link to /dev/zero (reading it fills
the memory), a socket, or a link that is dangling or points to itself. All of these raise
`NotRegular` without blocking and before a byte is read. The path is checked before it is opened,
because opening a device can have side effects, and the open file is checked again, because the path
may have changed in between.

A path that does not exist raises FileNotFoundError as usual; a dangling link raises NotRegular.
"""

import errno
import os
import stat
from io import BufferedReader, FileIO
from typing import BinaryIO

PIECE = 1 << 20  # bytes

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegular(OSError):
    """The path does not name a regular file; `strerror` says what it names."""


class TooLarge(OSError):
    """A regular file is larger than its reader accepts."""


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """All bytes of a regular file.

    Raises NotRegular, TooLarge if it has more than `limit` bytes (known before they are read), or
    any other OSError.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Ask for no more than the size plus one: read() allocates all that it is asked for.
        data = file.read(size + 1) if size <= limit else b""
        if len(data) > size:  # it is growing, or in /proc, where st_size is 0
            while len(data) <= limit and (more := file.read(PIECE)):
                data += more
        size = max(size, len(data))
        require_size(path, size, limit)
    return data


def read_part(path: str | os.PathLike[str], start: int, stop: int) -> bytes:
    """Bytes start..stop of a regular file; fewer if it ends before. Raises any OSError."""
    parts = []
    with open_regular(path, buffered=False) as file:
        while start < stop and (part := os.pread(file.fileno(), stop - start, start)):
            parts.append(part)
            start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def require_size(path: str | os.PathLike[str], size: int, limit: int) -> None:
    """Raises TooLarge if `size` is above `limit` bytes."""
    if size > limit:
        text = f"{size:,} bytes are more than the limit of {limit:,}"
        raise TooLarge(errno.EFBIG, text, os.fspath(path))


def open_regular(path: str | os.PathLike[str], buffered: bool = True) -> BinaryIO:
    """Opens a regular file for reading. Raises NotRegular or any other OSError."""
    _require_regular(path, _status(path))
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    file = FileIO(os.open(path, flags), "rb")
    try:
        _require_regular(path, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return BufferedReader(file) if buffered else file


def regular_size(path: str | os.PathLike[str]) -> int:
    """Size of a regular file in bytes, -1 for anything else. Raises any OSError but NotRegular."""
    try:
        status = _status(path)
    except NotRegular:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def regular_stamps(folder: str | os.PathLike[str]) -> dict[str, tuple[int, str]]:
    """Name -> (size, time of the last change in ns) of each regular file in a folder."""
    found: dict[str, tuple[int, str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat()
            except OSError as error:
                # It was removed meanwhile, or is a link to nothing or to itself.
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    continue
                raise
            if stat.S_ISREG(status.st_mode):
                found[entry.name] = status.st_size, str(status.st_mtime_ns)
    return found


def _status(path: str | os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        # Only where the path itself is the link: a loop further up is an error of the storage.
        if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(path):
            where = "nothing" if error.errno == errno.ENOENT else "itself"
            raise NotRegular(errno.EINVAL, f"it is a link to {where}", os.fspath(path)) from error
        raise


def _require_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise NotRegular(errno.EINVAL, f"it is {kind} instead of a regular file", os.fspath(path))
