"""Reads the encoded bytes of a sample by its index, from a file of its own or from a tar.

A reader is plain data, cheap to send to loader workers. It keeps no file open: opening one takes
about ten microseconds, a thousandth of the time to decode, and open files do not survive a fork
well.

Two kinds of failure are kept apart:

    BadImage                  a property of the data: the path is not a regular file (a FIFO, a
                              dangling link, ...) or has more than MAX_BYTES
    InputError, StorageError  the source fails: a listed file is gone or not readable, or a disk or
                              server does not answer, even after retries
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import BadImage, InputError
from shared.files.ranges import read_range
from shared.files.regular import NotRegular, TooLarge, read_regular
from shared.files.retry import patiently_local
from shared.images.listing import Ints, Keys, Places, unreadable

MAX_BYTES = 1 << 30  # of an encoded image: enough for decode.MAX_PIXELS uncompressed 16-bit pixels


@dataclass(frozen=True, slots=True, eq=False)
class FolderReader:
    folder: str  # absolute
    keys: Keys  # relative to the folder
    flat: bool = False  # the files are in the folder itself, not in class folders

    def read(self, index: int) -> bytes:
        """Raises BadImage, InputError or StorageError; see the top of this file."""
        path = self.path(index)
        try:
            return patiently_local(path, lambda: read_regular(path, MAX_BYTES))
        except (NotRegular, TooLarge) as error:
            raise BadImage(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise unreadable(path, error) from error

    def path(self, index: int) -> str:
        key = self.keys[index]
        return f"{self.folder}/{key.rsplit('/', 1)[-1] if self.flat else key}"

    def take(self, index: Ints) -> "FolderReader":
        return FolderReader(self.folder, self.keys.take(index), self.flat)


@dataclass(frozen=True, slots=True, eq=False)
class TarReader:
    places: Places
    sizes: npt.NDArray[np.int64]  # (N,) bytes

    def read(self, index: int) -> bytes:
        """Raises BadImage, InputError or StorageError; see the top of this file."""
        path = self.places.paths[self.places.file[index]]
        size = int(self.sizes[index])
        if size > MAX_BYTES:
            raise BadImage(f"{size:,} bytes are more than the limit of {MAX_BYTES:,}")
        try:
            data = read_range(path, int(self.places.offset[index]), size)
        except OSError as error:
            raise unreadable(path, error) from error
        if len(data) != size:
            raise InputError(
                f"{path} is shorter than when it was listed: it ends within sample {index}; put it "
                f"back, or start again to have it listed again"
            )
        return data

    def take(self, index: Ints) -> "TarReader":
        return TarReader(self.places.take(index), self.sizes[index])
