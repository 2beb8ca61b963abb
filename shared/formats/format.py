"""The interface of a cache format, which converts blocks to files and back, without doing any I/O.

A format is a module with these functions and constants, and FORMATS lists the formats. The rest of
a cache (receipts, hashes, manifest) is the same in every format and implemented elsewhere.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.formats import webdataset_format, zarr_format
from shared.images.listing import Keys
from shared.records.block import Block
from shared.records.manifest import Manifest


class Format(Protocol):
    DEFAULT_BLOCK: int  # samples

    def check_block_size(self, block: int) -> None:
        """Raises InputError if blocks cannot have this size."""
        ...

    def metadata(
        self, manifest: Manifest, labels: NDArray[np.int64], keys: Keys
    ) -> dict[str, bytes]:
        """The files that belong to no block: path in the split -> bytes."""
        ...

    def array_metadata(self, manifest: Manifest) -> dict[str, bytes]:
        """The subset of `metadata` that describes the types and shapes of the blocks' contents."""
        ...

    def static_names(self, manifest: Manifest) -> set[str]:
        """The paths of `metadata`."""
        ...

    def require_shapes(
        self, manifest: Manifest, names: list[str], read: Callable[[str], bytes]
    ) -> None:
        """Raises ValueError unless the stored metadata give the named arrays the right shapes."""
        ...

    def array_paths(
        self, manifest: Manifest, view: int, block: int, layer: str = ""
    ) -> dict[str, str]:
        """Name of each array in a layer -> path of the file that has the block's part of it."""
        ...

    def encode(self, manifest: Manifest, block: Block) -> dict[str, bytes]:
        """The files of a block: path in the split -> bytes."""
        ...

    def decode(
        self,
        manifest: Manifest,
        view: int,
        block: int,
        names: list[str],
        read: Callable[[str], bytes],
    ) -> dict[str, NDArray[Any]]:
        """The named arrays of one block, (n, ...) each.

        `read` returns the bytes of a path, with their hash checked. Raises InputError if the bytes
        are not what `encode` writes.
        """
        ...


FORMATS: dict[str, Format] = {"zarr": zarr_format, "webdataset": webdataset_format}
