"""One split of a cache on disk: open or create, write blocks, read views.

    <cache>/<split>/
        manifest.json            what made it (manifest.py)
        targets.zarr/...         the arrays (zarr_format.py)
        receipts/vVVVV-bBBBBBB.json    one a finished block (block.py)

Writers take whole blocks and share no file, so any number of processes may fill one cache; two that
do the same block by mistake write the same bytes. Readers check the hash of all that they read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.images import ImageSource
from shared.store import zarr_format
from shared.store.block import Block, Receipt, make_receipt, receipt_path, sha256
from shared.store.files import LocalFiles
from shared.store.manifest import MANIFEST, Manifest

Arrays = dict[str, NDArray[Any]]


class Cache:
    def __init__(self, files: LocalFiles, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest

    @property
    def where(self) -> str:
        return str(self.files.root)

    # Writing

    def write(self, block: Block, source: ImageSource) -> None:
        rows = self.manifest.rows(block.index)
        data = zarr_format.encode(self.manifest, block)
        for path, content in data.items():
            self.files.write(path, content)
        keys = source.key_digest(rows.start, rows.stop)
        receipt = make_receipt(block, rows, keys, data)
        self.files.write(receipt_path(block.view, block.index), receipt.to_json())

    def is_done(self, view: int, block: int) -> bool:
        try:
            self.check_block(view, block)
        except InputError:
            return False
        return True

    # Reading

    def receipt(self, view: int, block: int) -> Receipt:
        """InputError where the block is missing or its receipt damaged."""
        path = receipt_path(view, block)
        try:
            receipt = Receipt.from_json(self.files.read(path))
        except FileNotFoundError as error:
            raise InputError(
                f"a cache is used when complete: {self.where} lacks block {block} of view {view}; "
                f"run the same precompute/run.py command again, it makes what is missing"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"a receipt is JSON that this code wrote: {self.where}/{path} is damaged; run the "
                f"same precompute/run.py command again, it makes the block anew"
            ) from error
        rows = self.manifest.rows(block)
        if (receipt.view, receipt.block) != (view, block) or (receipt.start, receipt.stop) != (
            rows.start,
            rows.stop,
        ):
            raise InputError(
                f"a receipt is for the block in its name: {self.where}/{path} is for block "
                f"{receipt.block} of view {receipt.view}; delete it and run precompute/run.py again"
            )
        return receipt

    def check_block(self, view: int, block: int) -> None:
        """InputError unless the receipt is there and every file has the hash that it names."""
        receipt = self.receipt(view, block)
        for path in receipt.files:
            self._read_checked(path, receipt)

    def read_block(self, view: int, block: int, names: list[str]) -> Arrays:
        """The named arrays of one block, (n, ...) each, hashes checked."""
        receipt = self.receipt(view, block)
        return zarr_format.decode(
            self.manifest, view, block, names, lambda path: self._read_checked(path, receipt)
        )

    def read_view(self, view: int, names: list[str]) -> Arrays:
        """The named arrays of one view, (N, ...) each, in host memory, stored dtype."""
        self.require_views()
        whole: Arrays = {}
        for block in range(self.manifest.blocks):
            rows = self.manifest.rows(block)
            for name, part in self.read_block(view, block, names).items():
                if name not in whole:
                    whole[name] = np.empty((self.manifest.samples, *part.shape[1:]), part.dtype)
                whole[name][rows.start : rows.stop] = part
        return whole

    def require_views(self) -> None:
        """InputError unless every block of every view has a receipt. One listing, no file read."""
        there = set(self.files.names("receipts"))
        for view, block in self.units():
            if Path(receipt_path(view, block)).name not in there:
                self.receipt(view, block)

    def units(self) -> Iterator[tuple[int, int]]:
        """(view, block) of all that the cache should hold, view by view."""
        for view in range(self.manifest.views):
            for block in range(self.manifest.blocks):
                yield view, block

    def skipped(self) -> list[tuple[int, str, str]]:
        """(sample index, key, reason) of images that do not decode; the same in every view."""
        blocks = range(self.manifest.blocks)
        return [item for block in blocks for item in self.receipt(0, block).skipped]

    def num_bytes(self, view: int = 0) -> int:
        """Bytes of one view's files."""
        receipts = (self.receipt(view, block) for block in range(self.manifest.blocks))
        return sum(size for receipt in receipts for size, _ in receipt.files.values())

    def _read_checked(self, path: str, receipt: Receipt) -> bytes:
        try:
            data = self.files.read(path)
        except FileNotFoundError as error:
            raise InputError(
                f"a finished block has all its files: {self.where}/{path} is missing; run the same "
                f"precompute/run.py command again, it makes the block anew"
            ) from error
        size, expected = receipt.files[path]
        if len(data) != size or sha256(data) != expected:
            raise InputError(
                f"a block's files have the hashes of its receipt: {self.where}/{path} has "
                f"{len(data)} bytes of {size} and another sha256; it is damaged: run the same "
                f"precompute/run.py command again, it makes the block anew"
            )
        return data


def open_cache(folder: Path, split: str) -> Cache:
    """An existing split, for reading. InputError where there is none."""
    files = LocalFiles(folder / split)
    if not files.exists(MANIFEST):
        raise InputError(
            f"--cache must hold {split}/{MANIFEST}: {folder} does not; make the cache with "
            f"python precompute/run.py --split {split} --cache {folder}"
        )
    return Cache(files, Manifest.from_json(files.read(MANIFEST), f"{files.root}/{MANIFEST}"))


def create_cache(folder: Path, wanted: Manifest, source: ImageSource) -> Cache:
    """Opens the split for writing, makes it if it is absent, and adds views if more are wanted.

    InputError where what is there was made from anything else.
    """
    files = LocalFiles(folder / wanted.split)
    files.remove_stale()
    files.write_new(MANIFEST, wanted.to_json())
    there = open_cache(folder, wanted.split).manifest
    wanted.require_same(there, str(files.root))
    manifest = there.with_views(max(wanted.views, there.views))
    for path, data in zarr_format.metadata(manifest, source.labels).items():
        if not files.exists(path) or files.read(path) != data:
            files.write(path, data)
    # Last, so that a manifest never promises views that the arrays' shapes do not have room for.
    if manifest.views != there.views:
        files.write(MANIFEST, manifest.to_json())
    return Cache(files, manifest)
