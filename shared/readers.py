"""From the number of a sample to its encoded bytes: a file of its own, or a part of a tar.

A reader is plain data, cheap to send to loader workers. No file stays open: to open one costs some
ten microseconds, a thousandth of what decoding costs, and there is nothing to lose in a fork.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import InputError
from shared.listing import Ints, Keys, Places, unreadable
from shared.ranges import read_range


@dataclass(frozen=True, slots=True, eq=False)
class FolderReader:
    folder: str  # absolute
    keys: Keys  # relative to it
    flat: bool = False  # the files lie in the folder itself, without the class in front

    def read(self, index: int) -> bytes:
        """Raises: InputError if the file can no longer be read."""
        path = self.path(index)
        try:
            with open(path, "rb") as file:
                return file.read()
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
        """Raises: InputError if the tar can no longer be read, StorageError if its store is out."""
        path = self.places.paths[self.places.file[index]]
        size = int(self.sizes[index])
        try:
            data = read_range(path, int(self.places.offset[index]), size)
        except OSError as error:
            raise unreadable(path, error) from error
        if len(data) != size:
            raise InputError(
                f"a tar must stay as it was listed: {path} ends within sample {index}; start again"
            )
        return data

    def take(self, index: Ints) -> "TarReader":
        return TarReader(self.places.take(index), self.sizes[index])
