"""Reads the files of finished blocks, or parts of them, and compares them with their receipts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import InputError
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.records.block import sha256
from shared.records.receipt import Receipt
from shared.store.receipt_checks import AGAIN, AGAIN_CHECKING
from shared.store.receipts import CacheReceipts

T = TypeVar("T")


class CheckedFiles(CacheReceipts):
    def read_checked(self, path: str, receipt: Receipt) -> bytes:
        """The bytes of a file of a block. Raises InputError unless they have the receipt's hash."""
        try:
            return self._checked(path, receipt)
        except InputError:
            # This process may have read the receipt before the block was repaired.
            now = self.receipt(receipt.view, receipt.block, receipt.layer, fresh=True)
            if now == receipt:
                raise
            return self._checked(path, now)

    def _checked(self, path: str, receipt: Receipt) -> bytes:
        size, expected = receipt.files[path]
        data = self._of_block(path, lambda: self.files.read(path, max(size, MOST_BYTES)))
        if len(data) != size:
            raise self.damaged_file(path, f"it has {len(data):,} bytes instead of {size:,}")
        if sha256(data) != expected:
            found = "it has another sha256 than in its receipt"
            raise self.damaged_file(path, found, AGAIN_CHECKING)
        return data

    def _of_block(self, path: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except FileNotFoundError as error:
            raise InputError(
                f"{self.where}/{path} is missing, a file of a finished block: {AGAIN}, it makes "
                f"the block again"
            ) from error
        except InputError as error:
            raise self.damaged_file(path, one_line(error)) from error

    def read_part(self, path: str, start: int, stop: int) -> bytes:
        return self._of_block(path, lambda: self.files.read_range(path, start, stop))

    def size_of(self, path: str) -> int:
        return self._of_block(path, lambda: self.files.size(path))

    def file_sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Path -> bytes of those files of blocks that exist."""
        folders: dict[str, list[str]] = {}
        for path in paths:
            folders.setdefault(path.partition("/")[0], []).append(path)
        found = (self.files.sizes(folder, inside) for folder, inside in folders.items())
        return {path: size for sizes in found for path, size in sizes.items()}

    def damaged_file(self, path: str, found: str, what_to_do: str = AGAIN) -> InputError:
        return InputError(
            f"{self.where}/{path} is damaged: {found}; {what_to_do}, it makes the block again"
        )


@dataclass(frozen=True)
class FilesOfBlock:
    """The files of one block: a BlockFiles."""

    cache: CheckedFiles
    receipts: dict[str, Receipt]  # by path

    def whole(self, path: str) -> bytes:
        return self.cache.read_checked(path, self.receipts[path])

    def size(self, path: str) -> int:
        found, size = self.cache.size_of(path), self.receipts[path].files[path][0]
        if found != size:
            raise self.cache.damaged_file(path, f"it has {found:,} bytes instead of {size:,}")
        return size

    def part(self, path: str, start: int, stop: int) -> bytes:
        return self.cache.read_part(path, start, stop)

    def damaged(self, path: str, found: str) -> InputError:
        """What is found in a part that has its size, so that only reading tells."""
        return self.cache.damaged_file(path, found, AGAIN_CHECKING)
