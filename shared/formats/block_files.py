"""What a format reads a block from, and what it returns."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from shared.errors import InputError

Arrays: TypeAlias = dict[str, NDArray[Any]]  # by name, (n, ...) each
Into: TypeAlias = Arrays | None  # arrays to decode to; None: new ones
Read: TypeAlias = Callable[[str], bytes]  # path -> bytes of the file, with their hash checked


class BlockFiles(Protocol):
    """The files of one block, as its receipts list them."""

    def whole(self, path: str) -> bytes:
        """All bytes of a file, with their hash checked."""
        ...

    def size(self, path: str) -> int:
        """Bytes in a file. Raises InputError unless it has as many as the receipt says."""
        ...

    def part(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop of a file. Their hash is not checked."""
        ...

    def damaged(self, path: str, found: str) -> InputError:
        """The error for a file whose bytes are not what was written."""
        ...
