"""What a format of caches is: blocks to files and back, as pure functions of bytes.

A format is a module with these functions and constants; FORMATS names those that there are. All
else of a cache (receipts, hashes, manifest) is the same in every format and lies elsewhere.
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
        """InputError where blocks cannot have this size."""
        ...

    def metadata(
        self, manifest: Manifest, labels: NDArray[np.int64], keys: Keys
    ) -> dict[str, bytes]:
        """Every file that no block writes: path in the split -> bytes."""
        ...

    def array_metadata(self, manifest: Manifest) -> dict[str, bytes]:
        """Those of them that tell the types and shapes of what blocks hold."""
        ...

    def static_names(self, manifest: Manifest) -> set[str]:
        """The paths of `metadata`."""
        ...

    def require_shapes(
        self, manifest: Manifest, names: list[str], read: Callable[[str], bytes]
    ) -> None:
        """ValueError unless the metadata on disk give the named arrays the manifest's shapes."""
        ...

    def array_paths(
        self, manifest: Manifest, view: int, block: int, layer: str = ""
    ) -> dict[str, str]:
        """Name of each array of a layer -> path of the file that holds the block's part of it."""
        ...

    def encode(self, manifest: Manifest, block: Block) -> dict[str, bytes]:
        """A block's files: path in the split -> bytes."""
        ...

    def decode(
        self,
        manifest: Manifest,
        view: int,
        block: int,
        names: list[str],
        read: Callable[[str], bytes],
    ) -> dict[str, NDArray[Any]]:
        """The named arrays of one block, (n, ...) each; `read` takes a path to its checked bytes.

        InputError where those bytes are not what `encode` writes.
        """
        ...


FORMATS: dict[str, Format] = {"zarr": zarr_format, "webdataset": webdataset_format}
