"""Writes blocks to a split of a cache, and reads views from it, on disk or in an object store.

    <cache>/<split>/
        manifest.json            what it was made from (manifest.py)
        targets.zarr/...         the arrays (zarr_format.py), or
        shards/...               the view shards (webdataset_format.py)
        keys.txt                 the samples' keys, with targets.zarr only (keys.py)
        head.npy                 the teacher's last layer, if the codec needs it (head_file.py)
        receipts/vVVVV-bBBBBBB.json    one per finished block (receipt.py)
        receipts/vVVVV-bBBBBBB.KIND.json    the same for an added kind of targets

Writers write whole blocks and share no files, so any number of processes can fill one cache. If two
write the same block by mistake, they write the same bytes. Readers check the hash of every file,
and that the arrays have the shapes that follow from the manifest.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.cache.head_file import HEAD, decode_head
from shared.cache.receipts import AGAIN, CacheReceipts
from shared.errors import InputError
from shared.files.local import Files
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.images.source import ImageSource
from shared.records.block import Block, sha256
from shared.records.keys import key_digest
from shared.records.manifest import Manifest
from shared.records.receipt import Receipt, make_receipt, receipt_path
from shared.targets.targets import Head

Arrays = dict[str, NDArray[Any]]


class Cache(CacheReceipts):
    """A split of a cache. It can be pickled, and sent to loader workers."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        super().__init__(files, manifest)
        self._layers_of: dict[str, str] = {}  # field -> layer
        self._shapes_seen: set[str] = set()  # arrays whose metadata were checked

    def write(self, block: Block, keys: str) -> None:
        """Writes a block's files, then its receipt. `keys`: digest of its samples' keys."""
        data = self.format.encode(self.manifest, block)
        for path, content in data.items():
            self.files.write(path, content)
        receipt = make_receipt(self.manifest, block, keys, data)
        self.files.write(receipt_path(block.view, block.index, block.layer), receipt.to_json())
        self.remember(receipt)

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
        receipt = self.receipt(view, block, layer)
        for path in receipt.files:
            self.read_checked(path, receipt)
        if source is not None:
            samples = self.manifest.samples_of(block)
            if receipt.keys != key_digest(source.keys, samples):
                raise InputError(
                    f"block {block} of view {view} in {self.where} holds other samples than those "
                    f"of its rows: delete {receipt_path(view, block, layer)} and {AGAIN}"
                )
        if layer:
            try:
                base = self.receipt(view, block)
            except InputError:
                return  # the base is made again too; the two are compared when this is read
            self.require_same_skips(receipt, view, base.skipped)
            return
        for other in range(1, self.manifest.views) if view == 0 else [0]:
            try:
                theirs = self.receipt(other, block)
            except InputError:
                continue  # that block is made again too, and compared then
            self.require_same_skips(receipt, other, theirs.skipped)

    def read_block(self, view: int, block: int, names: list[str], alone: bool = False) -> Arrays:
        """The named arrays of one block, (n, ...) each, with their hashes checked.

        `alone` omits the comparison with the images left out in view 0, which may not exist yet.
        """
        find = self.receipt if alone else self.usable_receipt
        receipts = [find(view, block, layer) for layer in sorted(set(map(self._layer_of, names)))]
        self.require_shapes(names)
        of_file = {path: receipt for receipt in receipts for path in receipt.files}
        arrays: Arrays = self.format.decode(
            self.manifest, view, block, names, lambda path: self.read_checked(path, of_file[path])
        )
        if "pred" in names:
            self._require_classes(view, block, arrays["pred"], receipts[0])
        return arrays

    def _layer_of(self, name: str) -> str:
        if name not in self._layers_of:
            self._layers_of[name] = self.manifest.layer_of(name)
        return self._layers_of[name]

    def read_view(self, view: int, names: list[str]) -> Arrays:
        """The named arrays of one view, (N, ...) each, in source order and the stored dtype."""
        self.require_views({self._layer_of(name) for name in names})
        whole: Arrays = {}
        for block in range(self.manifest.blocks):
            for name, part in self.read_block(view, block, names).items():
                if name not in whole:
                    whole[name] = np.empty((self.manifest.samples, *part.shape[1:]), part.dtype)
                whole[name][self.manifest.samples_of(block)] = part
        return whole

    def head(self) -> Head | None:
        """The teacher's last layer if the codec derives logits from it, else None."""
        if not self.manifest.encoding.derives_logits:
            return None
        try:
            facts = self.manifest.teacher
            numbers = 4 * facts.classes * (facts.embedding_width + 1)
            return decode_head(self.files.read(HEAD, MOST_BYTES + numbers), facts)
        except (FileNotFoundError, ValueError) as error:
            raise InputError(
                f"{self.where}/{HEAD}, the teacher's head from which codec {self.manifest.codec} "
                f"derives logits, is missing or damaged ({one_line(error)}): {AGAIN}, it writes "
                f"the file again"
            ) from error

    def _require_classes(
        self, view: int, block: int, pred: NDArray[np.int32], receipt: Receipt
    ) -> None:
        """Raises InputError unless `pred` is a teacher's class for every sample not skipped."""
        classes = self.manifest.teacher.classes
        kept = ~np.isin(self.manifest.samples_of(block), list(receipt.skipped_samples))
        wrong = kept & ((pred < 0) | (pred >= classes))
        if wrong.any():
            raise InputError(
                f"block {block} of view {view} in {self.where} holds pred "
                f"{pred[int(wrong.argmax())]}, which is not one of the teacher's {classes:,} "
                f"classes: delete {receipt_path(view, block)} and {AGAIN}"
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

    def read_checked(self, path: str, receipt: Receipt) -> bytes:
        size, expected = receipt.files[path]
        try:
            data = self.files.read(path, max(size, MOST_BYTES))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.where}/{path} is missing, a file of a finished block: {AGAIN}, it makes "
                f"the block again"
            ) from error
        except InputError as error:
            raise self._damaged_file(path, one_line(error)) from error
        if len(data) != size or sha256(data) != expected:
            found = f"it has {len(data)} bytes of {size} and another sha256"
            raise self._damaged_file(path, found)
        return data

    def _damaged_file(self, path: str, found: str) -> InputError:
        return InputError(
            f"{self.where}/{path} is damaged: {found}; {AGAIN}, it makes the block again"
        )
