"""Reads the receipts of a split: which blocks are finished and what is in them.

Whatever is asked of many receipts reads them once, in parallel or from the index
(known_receipts.py). A single receipt is read from its file, unless it is known already.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.files.protocol import Files
from shared.files.sealed import MOST_BYTES
from shared.formats.format import FORMATS, Format
from shared.records.block import Arithmetic, Skipped
from shared.records.identity import cache_id
from shared.records.manifest import Manifest
from shared.records.receipt import Receipt, receipt_name, receipt_path
from shared.store.known_receipts import KnownReceipts
from shared.store.receipt_checks import fitting_receipt, missing_block, require_same_skips


class CacheReceipts:
    """The manifest and the receipts of a split. Reads no blocks."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest
        self._known = KnownReceipts(files, cache_id(manifest))
        # Block of view 0 -> the images that it leaves out.
        self._skipped: dict[int, tuple[Skipped, ...]] = {}
        # (view, block, layer) -> arithmetic, of the receipts that have been read or written.
        self._arithmetics: dict[tuple[int, int, str], Arithmetic | None] = {}
        self._ways: dict[Arithmetic, Arithmetic] = {}  # one object for each arithmetic
        self._complete: set[str] = set()  # layers that every block of every view has

    def __getstate__(self) -> dict[str, Any]:
        """Without what was learned of many receipts, so that loader workers do not carry it."""
        return {**self.__dict__, "_arithmetics": {}, "_ways": {}}

    @property
    def format(self) -> Format:
        return FORMATS[self.manifest.format]

    @property
    def where(self) -> str:
        return str(self.files.root)

    def receipt(self, view: int, block: int, layer: str = "", fresh: bool = False) -> Receipt:
        """Raises InputError if the block is missing, or its receipt is damaged or does not fit.

        `fresh` reads the file, whatever this process knows already."""
        name, path = receipt_name(view, block, layer), receipt_path(view, block, layer)
        known = None if fresh else self._known.get(name)
        if known is not None:
            try:
                return self._fitting(known, view, block, layer)
            except InputError:
                self._known.forget(name)  # the file says what is wrong, if anything is
        try:
            data = self.read_small(path)
        except FileNotFoundError as error:
            raise missing_block(self.where, view, block, layer) from error
        receipt = self._fitting(data, view, block, layer)
        if fresh:
            self._known.put(name, data)
        return receipt

    def _fitting(self, data: bytes, view: int, block: int, layer: str) -> Receipt:
        receipt = fitting_receipt(self.where, self.manifest, data, (view, block, layer))
        way = receipt.arithmetic
        self._arithmetics[view, block, layer] = way and self._ways.setdefault(way, way)
        return receipt

    def know(self, units: Iterable[tuple[int, int]], layers: Iterable[str] | None = None) -> None:
        """Reads those receipts of `units` (view, block) that this process does not know."""
        self._known.load(self._names(units, layers))

    def is_listed(self, view: int, block: int, layer: str = "") -> bool:
        """Whether the receipt was there when this process listed them."""
        return receipt_name(view, block, layer) in self._known.names()

    def keep_index(self) -> None:
        """Writes receipts.index (receipt_index.py), unless it is up to date or must not be written.

        Call `receipt_names` or `is_complete` before, which list what is there."""
        self._known.save(self._names(self.units()))

    def _names(
        self, units: Iterable[tuple[int, int]], layers: Iterable[str] | None = None
    ) -> Iterator[str]:
        """The names of the receipts of some blocks, in all layers or the given ones."""
        wanted = self.manifest.layers if layers is None else tuple(layers)
        return (receipt_name(*unit, layer) for unit in units for layer in wanted)

    def units_of(self, view: int) -> list[tuple[int, int]]:
        """The (view, block) of every block of a view."""
        return [(view, block) for block in range(self.manifest.blocks)]

    def remember(self, receipt: Receipt) -> None:
        """Stores the facts of a receipt that was just written, so that it is not read again."""
        self._known.forget(receipt_name(receipt.view, receipt.block, receipt.layer))
        self._arithmetics[receipt.view, receipt.block, receipt.layer] = receipt.arithmetic
        if receipt.view == 0 and not receipt.layer:
            self._skipped[receipt.block] = receipt.skipped

    def usable_receipt(self, view: int, block: int, layer: str = "") -> Receipt:
        """The receipt. Raises InputError if the block leaves out other images than in view 0.

        An epoch would otherwise have other samples than were counted.
        """
        receipt = self.receipt(view, block, layer)
        if view == 0 and not layer:
            return receipt
        try:
            require_same_skips(self.where, receipt, 0, self.skipped_of(block))
        except InputError:
            # This process may have read the receipt before the block was repaired.
            receipt = self.receipt(view, block, layer, fresh=True)
            require_same_skips(self.where, receipt, 0, self.skipped_of(block))
        return receipt

    def skipped_of(self, block: int) -> tuple[Skipped, ...]:
        if block not in self._skipped:
            self._skipped[block] = self.receipt(0, block).skipped
        return self._skipped[block]

    def skipped(self) -> list[Skipped]:
        """The images that do not decode, in block order; they are the same in every view."""
        self.know(self.units_of(0), [""])
        blocks = range(self.manifest.blocks)
        return [item for block in blocks for item in self.skipped_of(block)]

    def samples_of_blocks(self) -> NDArray[np.int64]:
        """(blocks,) number of usable samples in each block of a view."""
        self.know(self.units_of(0), [""])
        blocks = range(self.manifest.blocks)
        return np.array(
            [len(self.manifest.rows(block)) - len(self.skipped_of(block)) for block in blocks]
        )

    def units(self) -> Iterator[tuple[int, int]]:
        """The (view, block) of every block in a complete cache, view by view."""
        for view in range(self.manifest.views):
            for block in range(self.manifest.blocks):
                yield view, block

    def receipt_names(self) -> Collection[str]:
        """The names of the files in receipts/, listed now."""
        return self._known.refresh()

    def is_complete(self) -> bool:
        """Whether every layer of every block of every view has a receipt.

        Lists the folder once and reads no file.
        """
        there = self.receipt_names()
        return all(name in there for name in self._names(self.units()))

    def require_views(self, layers: Collection[str] = ("",)) -> None:
        """Raises InputError unless every block of every view has a receipt for each layer.

        Lists the folder once and reads no file.
        """
        wanted = {"", *layers}
        if wanted <= self._complete:
            return
        there = self._known.names()
        for view, block in self.units():
            for layer in sorted(wanted):
                if receipt_name(view, block, layer) not in there:
                    self.receipt(view, block, layer)
        self._complete |= wanted

    def num_bytes(self, view: int = 0, layers: Collection[str] | None = None) -> int:
        """The bytes of one view's files, in all layers or the given ones."""
        self.know(self.units_of(view), layers)
        receipts = (
            self.receipt(*unit, layer)
            for unit in self.units_of(view)
            for layer in (self.manifest.layers if layers is None else layers)
        )
        return sum(size for receipt in receipts for size, _ in receipt.files.values())

    def arithmetics(self) -> Counter[Arithmetic]:
        """Arithmetic -> number of blocks computed with it, where the receipt records it."""
        units = [(*unit, layer) for unit in self.units() for layer in self.manifest.layers]
        lacking = [unit for unit in units if unit not in self._arithmetics]
        self._known.load(receipt_name(*unit) for unit in lacking)
        for unit in lacking:
            self.receipt(*unit)
        return Counter(found for found in self._arithmetics.values() if found is not None)

    def read_small(self, path: str) -> bytes:
        return self.files.read(path, MOST_BYTES)
