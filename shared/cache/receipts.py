"""Reads the receipts of a split: which blocks are finished and what is in them."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.files.local import Files
from shared.files.sealed import MOST_BYTES
from shared.formats.format import FORMATS, Format
from shared.records.block import Arithmetic, Skipped
from shared.records.manifest import Manifest
from shared.records.receipt import Receipt, receipt_path

AGAIN = "run the same precompute/run.py command again"


class CacheReceipts:
    """The manifest and the receipts of a split. Reads no blocks."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest
        # Block of view 0 -> the images that it leaves out.
        self._skipped: dict[int, tuple[Skipped, ...]] = {}
        # (view, block, layer) -> arithmetic, of the receipts that have been read or written.
        self._arithmetics: dict[tuple[int, int, str], Arithmetic | None] = {}

    @property
    def format(self) -> Format:
        return FORMATS[self.manifest.format]

    @property
    def where(self) -> str:
        return str(self.files.root)

    def receipt(self, view: int, block: int, layer: str = "") -> Receipt:
        """Raises InputError if the block is missing, or its receipt is damaged or does not fit."""
        path = receipt_path(view, block, layer)
        try:
            receipt = Receipt.from_json(self.read_small(path))
        except FileNotFoundError as error:
            what = f"block {block} of view {view}" + (f" of {layer}" if layer else "")
            raise InputError(
                f"the cache {self.where} is incomplete: {what} is missing; {AGAIN}, it makes what "
                f"is missing"
            ) from error
        except ValueError as error:
            raise self._damaged_receipt(path, error) from error
        rows = self.manifest.rows(block)
        named, found = (view, block, layer), (receipt.view, receipt.block, receipt.layer)
        if named != found or (receipt.start, receipt.stop) != (rows.start, rows.stop):
            raise InputError(
                f"{self.where}/{path} is the receipt of another block, {receipt.block} of view "
                f"{receipt.view}: delete it and run precompute/run.py again"
            )
        try:
            files = set(self.format.array_paths(self.manifest, view, block, layer).values())
            receipt.require_fit(self.manifest, files)
        except ValueError as error:
            raise self._damaged_receipt(path, error) from error
        self._arithmetics[view, block, layer] = receipt.arithmetic
        return receipt

    def remember(self, receipt: Receipt) -> None:
        """Stores the facts of a receipt that was just written, so that it is not read again."""
        self._arithmetics[receipt.view, receipt.block, receipt.layer] = receipt.arithmetic
        if receipt.view == 0 and not receipt.layer:
            self._skipped[receipt.block] = receipt.skipped

    def _damaged_receipt(self, path: str, error: ValueError) -> InputError:
        return InputError(
            f"the receipt {self.where}/{path} is damaged ({error}): {AGAIN}, it makes the block "
            f"again"
        )

    def require_same_skips(self, receipt: Receipt, other: int, theirs: tuple[Skipped, ...]) -> None:
        """Raises InputError unless a block leaves out `theirs`, as it does in view `other`."""
        mine = {index: (key, reason) for index, key, reason in receipt.skipped}
        others = {index: (key, reason) for index, key, reason in theirs}
        if differing := sorted(mine.keys() ^ others.keys()):
            key, reason = (mine | others)[differing[0]]
            own = f"{receipt.layer} of view {receipt.view}" if receipt.layer else ""
            views = [own or f"view {receipt.view}", f"view {other}"]
            lacks, has = views if differing[0] in mine else reversed(views)
            raise InputError(
                f"block {receipt.block} in {self.where} lacks {key!r} in {lacks} ({reason}) and "
                f"has it in {has}, but an image must be left out of all of them or of none: "
                f"{AGAIN}, it makes both blocks again"
            )

    def usable_receipt(self, view: int, block: int, layer: str = "") -> Receipt:
        """The receipt. Raises InputError if the block leaves out other images than in view 0.

        An epoch would otherwise have other samples than were counted.
        """
        receipt = self.receipt(view, block, layer)
        if view > 0 or layer:
            self.require_same_skips(receipt, 0, self.skipped_of(block))
        return receipt

    def skipped_of(self, block: int) -> tuple[Skipped, ...]:
        if block not in self._skipped:
            self._skipped[block] = self.receipt(0, block).skipped
        return self._skipped[block]

    def skipped(self) -> list[Skipped]:
        """The images that do not decode, in block order; they are the same in every view."""
        blocks = range(self.manifest.blocks)
        return [item for block in blocks for item in self.skipped_of(block)]

    def samples_of_blocks(self) -> NDArray[np.int64]:
        """(blocks,) number of usable samples in each block of a view."""
        blocks = range(self.manifest.blocks)
        return np.array(
            [len(self.manifest.rows(block)) - len(self.skipped_of(block)) for block in blocks]
        )

    def units(self) -> Iterator[tuple[int, int]]:
        """The (view, block) of every block in a complete cache, view by view."""
        for view in range(self.manifest.views):
            for block in range(self.manifest.blocks):
                yield view, block

    def receipt_names(self) -> set[str]:
        """The names of the files in receipts/."""
        return set(self.files.names("receipts"))

    def is_complete(self) -> bool:
        """Whether every layer of every block of every view has a receipt.

        Lists the folder once and reads no file.
        """
        there = self.receipt_names()
        return all(
            Path(receipt_path(*unit, layer)).name in there
            for unit in self.units()
            for layer in self.manifest.layers
        )

    def require_views(self, layers: Collection[str] = ("",)) -> None:
        """Raises InputError unless every block of every view has a receipt for each layer.

        Lists the folder once and reads no file.
        """
        there = self.receipt_names()
        for view, block in self.units():
            for layer in sorted({"", *layers}):
                if Path(receipt_path(view, block, layer)).name not in there:
                    self.receipt(view, block, layer)

    def num_bytes(self, view: int = 0, layers: Collection[str] | None = None) -> int:
        """The bytes of one view's files, in all layers or the given ones."""
        receipts = (
            self.receipt(view, block, layer)
            for block in range(self.manifest.blocks)
            for layer in (self.manifest.layers if layers is None else layers)
        )
        return sum(size for receipt in receipts for size, _ in receipt.files.values())

    def arithmetics(self) -> Counter[Arithmetic]:
        """Arithmetic -> number of blocks computed with it, where the receipt records it."""
        for unit in self.units():
            for layer in self.manifest.layers:
                if (*unit, layer) not in self._arithmetics:
                    self.receipt(*unit, layer)
        return Counter(found for found in self._arithmetics.values() if found is not None)

    def read_small(self, path: str) -> bytes:
        return self.files.read(path, MOST_BYTES)
