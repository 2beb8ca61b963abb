"""What a cache or a run folder needs of its storage, wherever that is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from shared.errors import InputError

MOST = 1 << 36  # bytes: the default limit for a file

# (size, mark): the mark is another one after a file was written again. On disk it is the time of
# the last change in ns, in an object store the ETag; "" where a store has neither.
Stamp = tuple[int, str]


class Files(Protocol):
    """What a cache needs of its storage; implemented by LocalFiles and, for URLs, in objects.py."""

    @property
    def root(self) -> Path | str: ...

    def read(self, path: str, most: int = MOST) -> bytes: ...

    def size(self, path: str) -> int: ...

    def read_range(self, path: str, start: int, stop: int) -> bytes: ...

    def exists(self, path: str) -> bool: ...

    def names(self, folder: str) -> list[str]: ...

    def stamps(self, folder: str) -> dict[str, Stamp]: ...

    def read_listed(self, path: str, size: int) -> bytes: ...

    def sizes(self, folder: str, paths: Sequence[str]) -> dict[str, int]: ...

    def write(self, path: str, data: bytes) -> None: ...

    def write_with(self, path: str, fill: Callable[[BinaryIO], None]) -> None: ...

    def write_new(self, path: str, data: bytes) -> bool: ...

    def remove(self, path: str) -> None: ...

    def remove_stale(self) -> None: ...


def not_ours(name: str, found: str) -> InputError:
    return InputError(
        f"{name} is not a file that this program wrote: {found}; remove it, then run the command "
        f"that made it again"
    )


def ends_early(name: str, size: int, stop: int) -> InputError:
    return InputError(f"{name} ends at byte {size:,}, before byte {stop:,}")
