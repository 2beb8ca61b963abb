"""Local files of the user, of which only regular ones are opened.

Under a name there may be anything: a folder, a FIFO (opening it waits for ever), a link to
/dev/zero (reading it fills the memory), a socket, a link to nothing or to itself. All of them are a
`NotRegular`, found before a byte is read and without waiting. The name is looked at before it is
opened, because opening a device can act on it, and the open file again, because names change.

A file that is not there at all is FileNotFoundError, as everywhere: a link to nothing is not.
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
    """Something under this name is not a regular file; `strerror` says what."""


class TooLarge(OSError):
    """A regular file of more bytes than its reader takes."""


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """All bytes of a regular file.

    Raises: NotRegular; TooLarge above `limit` bytes, before they are read; any other OSError.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # As many bytes as are asked for are allocated first
        data = file.read(size + 1) if size <= limit else b""
        if len(data) > size:  # it grows, or is of /proc, whose files say that they are empty
            while len(data) <= limit and (more := file.read(PIECE)):
                data += more
        size = max(size, len(data))
        require_size(path, size, limit)
    return data


def require_size(path: str | os.PathLike[str], size: int, limit: int) -> None:
    """TooLarge above `limit` bytes."""
    if size > limit:
        text = f"{size:,} bytes are more than the limit of {limit:,}"
        raise TooLarge(errno.EFBIG, text, os.fspath(path))


def open_regular(path: str | os.PathLike[str], buffered: bool = True) -> BinaryIO:
    """A regular file for reading. Raises: NotRegular, any other OSError."""
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
    """Bytes of a regular file, -1 for anything else. Raises: any other OSError."""
    try:
        status = _status(path)
    except NotRegular:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _status(path: str | os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        # A loop further up in the path is a fault of the storage, not of this name
        if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(path):
            where = "nothing" if error.errno == errno.ENOENT else "itself"
            raise NotRegular(errno.EINVAL, f"it is a link to {where}", os.fspath(path)) from error
        raise


def _require_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise NotRegular(errno.EINVAL, f"it is {kind} instead of a regular file", os.fspath(path))
