"""Checks finished blocks: their files, their samples, and that all views omit the same images."""

from typing import Any

from shared.errors import InputError
from shared.files.protocol import Files
from shared.images.source import ImageSource
from shared.records.keys import key_digest
from shared.records.manifest import Manifest
from shared.records.receipt import receipt_path
from shared.store.checked_files import CheckedFiles
from shared.store.receipt_checks import AGAIN, require_same_skips


class CheckedBlocks(CheckedFiles):
    def __init__(self, files: Files, manifest: Manifest) -> None:
        super().__init__(files, manifest)
        self._keys: dict[tuple[str, int], str] = {}  # (digest of a source, block) -> key digest

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_keys": {}}

    def keys_of(self, source: ImageSource, block: int) -> str:
        """The digest of the keys of a block's samples."""
        if (source.digest, block) not in self._keys:
            samples = self.manifest.samples_of(block)
            self._keys[source.digest, block] = key_digest(source.keys, samples)
        return self._keys[source.digest, block]

    def is_done(
        self, view: int, block: int, source: ImageSource | None = None, layer: str = ""
    ) -> bool:
        try:
            self.check_block(view, block, source, layer)
        except InputError:
            return False
        return True

    def missing_layers(
        self, view: int, block: int, source: ImageSource | None = None
    ) -> tuple[str, ...]:
        """The layers of a block that are missing or damaged."""
        layers = self.manifest.layers
        return tuple(name for name in layers if not self.is_done(view, block, source, name))

    def check_block(
        self, view: int, block: int, source: ImageSource | None = None, layer: str = ""
    ) -> None:
        """Raises InputError unless there is a receipt and every file has the hash in it.

        With a source, the block must also have exactly its samples. A block must leave out the same
        images in every view: a block of view 0 is compared with all other views, any other with
        view 0, and a layer with its block. If two views differ, both count as wrong, because either
        may be.
        """
        receipt = self.receipt(view, block, layer, fresh=True)
        for path in receipt.files:
            self.read_checked(path, receipt)
        if source is not None and receipt.keys != self.keys_of(source, block):
            raise InputError(
                f"block {block} of view {view} in {self.where} holds other samples than those "
                f"of its rows: delete {receipt_path(view, block, layer)} and {AGAIN}"
            )
        if layer:
            try:
                base = self.receipt(view, block)
            except InputError:
                return  # the base is made again too; the two are compared when this is read
            require_same_skips(self.where, receipt, view, base.skipped)
            return
        for other in range(1, self.manifest.views) if view == 0 else [0]:
            try:
                theirs = self.receipt(other, block)
            except InputError:
                continue  # that block is made again too, and compared then
            require_same_skips(self.where, receipt, other, theirs.skipped)
