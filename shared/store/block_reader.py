"""Reads blocks, parts of blocks and whole views of a split.

The hash of every file that is read whole is checked, and the arrays must have the shapes that
follow from the manifest. If only some rows of a block are read, the file's size must be that of the
receipt, and in place of its hash the crc32c of the index and of each chunk that is read is checked.
They find damage as well as the hash does; unlike the hash, they do not say that the bytes are those
that the receipt lists.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.files.protocol import Files
from shared.files.retry import one_line
from shared.formats.block_files import Arrays, Into
from shared.records.manifest import Manifest
from shared.records.receipt import receipt_path
from shared.store.checked_blocks import CheckedBlocks
from shared.store.checked_files import FilesOfBlock
from shared.store.receipt_checks import AGAIN
from shared.targets.arrays import Field

OTHERS: dict[str, Field] = {"box": ("int32", (4,)), "flip": ("bool", ()), "pred": ("int32", ())}


class BlockReader(CheckedBlocks):
    def __init__(self, files: Files, manifest: Manifest) -> None:
        super().__init__(files, manifest)
        self._layers_of: dict[str, str] = {}  # field -> layer
        self._shapes_seen: set[str] = set()  # arrays whose metadata were checked

    def read_block(
        self, view: int, block: int, names: list[str], alone: bool = False, into: Into = None
    ) -> Arrays:
        """The named arrays of one block, (n, ...) each, with their hashes checked.

        `alone` omits the comparison with the images left out in view 0, which may not exist yet.
        `into`: arrays that may be used for the result, instead of new ones.
        """
        files = self._files_of(view, block, names, alone)
        arrays = self.format.decode(self.manifest, view, block, names, files.whole, into)
        self._require_classes(files, arrays, self.manifest.samples_of(block))
        return arrays

    def row_types(self, names: list[str]) -> dict[str, Field]:
        """Array -> (dtype, shape of a row)."""
        facts = self.manifest.encoding.fields() | OTHERS
        return {name: facts[name] for name in names}

    def read_rows(
        self, view: int, block: int, rows: range | slice, names: list[str], into: Into = None
    ) -> Arrays:
        """Some rows of a block, counted from its first, (rows, ...) each.

        If the block is stored in chunks, reads only those that have such rows. `into`: arrays that
        may be used for the rows of a whole block, instead of new ones.
        """
        count = len(self.manifest.rows(block))
        wanted = range(count)[rows] if isinstance(rows, slice) else rows
        assert wanted.step == 1 and 0 <= wanted.start <= wanted.stop <= count, rows
        if len(wanted) == count:
            return self.read_block(view, block, names, into=into)
        files = self._files_of(view, block, names)
        arrays = self.format.decode_rows(self.manifest, view, block, wanted, names, files)
        samples = self.manifest.samples_of(block)[wanted.start : wanted.stop]
        self._require_classes(files, arrays, samples)
        return arrays

    def read_view(self, view: int, names: list[str], into: Into = None, threads: int = 1) -> Arrays:
        """The named arrays of one view, (N, ...) each, in source order and the stored dtype.

        `into`: arrays to fill, by name, instead of new ones. Each thread reads one block at a time
        and has its files in memory. If several blocks are damaged, the error is that of the first.
        """
        layers = {self._layer_of(name) for name in names}
        self.require_views(layers)
        self.know(self.units_of(view), {"", *layers})
        self.require_shapes(names)
        types, count = self.row_types(names).items(), self.manifest.samples
        whole = into or {name: np.empty((count, *shape), dtype) for name, (dtype, shape) in types}
        read = partial(self._read_into, view, names, whole)
        blocks = range(self.manifest.blocks)
        if min(threads, len(blocks)) <= 1:
            for block in blocks:
                read(block)
            return whole
        pool = ThreadPoolExecutor(threads, thread_name_prefix="blocks")
        try:
            for done in [pool.submit(read, block) for block in blocks]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
        return whole

    def _read_into(self, view: int, names: list[str], whole: Arrays, block: int) -> None:
        samples = self.manifest.samples_of(block)
        if self.manifest.order != "source":
            for name, values in self.read_block(view, block, names).items():
                whole[name][samples] = values
            return
        rows = self.manifest.rows(block)
        parts = {name: whole[name][rows.start : rows.stop] for name in names}
        for name, values in self.read_block(view, block, names, into=parts).items():
            if values is not parts[name]:
                parts[name][...] = values

    def _files_of(
        self, view: int, block: int, names: list[str], alone: bool = False
    ) -> FilesOfBlock:
        find = self.receipt if alone else self.usable_receipt
        receipts = [find(view, block, layer) for layer in sorted(set(map(self._layer_of, names)))]
        self.require_shapes(names)
        return FilesOfBlock(self, {path: receipt for receipt in receipts for path in receipt.files})

    def _layer_of(self, name: str) -> str:
        if name not in self._layers_of:
            self._layers_of[name] = self.manifest.layer_of(name)
        return self._layers_of[name]

    def _require_classes(
        self, files: FilesOfBlock, arrays: Arrays, samples: NDArray[np.int64]
    ) -> None:
        """Raises InputError unless `pred` is a teacher's class for every sample not skipped."""
        if "pred" not in arrays:
            return
        receipt = next(found for found in files.receipts.values() if not found.layer)
        pred, classes = arrays["pred"], self.manifest.teacher.classes
        kept = ~np.isin(samples, list(receipt.skipped_samples))
        wrong = kept & ((pred < 0) | (pred >= classes))
        if wrong.any():
            raise InputError(
                f"block {receipt.block} of view {receipt.view} in {self.where} holds pred "
                f"{pred[int(wrong.argmax())]}, which is not one of the teacher's {classes:,} "
                f"classes: delete {receipt_path(receipt.view, receipt.block)} and {AGAIN}"
            )

    def require_shapes(self, names: list[str]) -> None:
        """Raises InputError unless the arrays have the dtypes and shapes given by the manifest.

        Reading arrays with others would not be safe.
        """
        if not {*names, ""} <= self._shapes_seen:
            try:
                self.format.require_shapes(self.manifest, names, self.read_small)
            except (FileNotFoundError, ValueError, RecursionError) as error:
                raise InputError(
                    f"the metadata in {self.where} do not follow from its manifest "
                    f"({one_line(error)}): {AGAIN}, it writes them again"
                ) from error
            self._shapes_seen |= {*names, ""}
