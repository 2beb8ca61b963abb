"""The interface of a cache format, which converts blocks to files and back, without doing any I/O.

A format is a module with these functions and constants, and FORMATS lists the formats. The rest of
a cache (receipts, hashes, manifest) is the same in every format and implemented elsewhere.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.formats import webdataset_format, zarr_format
from shared.formats.block_files import Arrays, BlockFiles, Into, Read
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

    def require_shapes(self, manifest: Manifest, names: list[str], read: Read) -> None:
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
        read: Read,
        into: Into = None,
    ) -> Arrays:
        """The named arrays of one block, (n, ...) each.

        A format may decode to the arrays `into` and return them, instead of new ones. Raises
        InputError if the bytes are not what `encode` writes; the contents of `into` are then
        undefined.
        """
        ...

    def decode_rows(
        self,
        manifest: Manifest,
        view: int,
        block: int,
        rows: range,
        names: list[str],
        files: BlockFiles,
    ) -> Arrays:
        """Some rows of a block, counted from its first, (len(rows), ...) each.

        Reads parts of files if the format has checksums for the parts, else whole files.
        """
        ...


FORMATS: dict[str, Format] = {"zarr": zarr_format, "webdataset": webdataset_format}
