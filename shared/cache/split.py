"""One split of a cache, on disk or in an object store: write blocks, read views.

    <cache>/<split>/
        manifest.json            what made it (manifest.py)
        targets.zarr/...         the arrays (zarr_format.py), or
        shards/...               the view shards (webdataset_format.py)
        keys.txt                 the samples' keys beside the arrays (keys.py)
        head.npy                 the teacher's last layer, if the codec needs it (head_file.py)
        receipts/vVVVV-bBBBBBB.json    one a finished block (block.py)
        receipts/vVVVV-bBBBBBB.KIND.json    the same of an added kind of targets

Writers take whole blocks and share no file, so any number of processes may fill one cache; two that
do the same block by mistake write the same bytes. Readers check the hash of all that they read, and
that what they read is of the shape that the manifest says.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.cache.head_file import HEAD, decode_head
from shared.errors import InputError
from shared.files.local import Files
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.formats.format import FORMATS, Format
from shared.images.source import ImageSource
from shared.records.block import Arithmetic, Block, Skipped, sha256
from shared.records.keys import key_digest
from shared.records.manifest import Manifest
from shared.records.receipt import Receipt, make_receipt, receipt_path
from shared.targets.targets import Head

AGAIN = "run the same precompute/run.py command again"

Arrays = dict[str, NDArray[Any]]


class Cache:
    """Plain data: may be pickled, and sent to loader workers."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest
        self._layers_of: dict[str, str] = {}  # by field
        self._shapes_seen: set[str] = set()  # arrays whose shape was compared with the manifest's
        self._skipped: dict[int, tuple[Skipped, ...]] = {}  # by block, of view 0
        # Of receipts seen: by view, block and layer.
        self._arithmetics: dict[tuple[int, int, str], Arithmetic | None] = {}

    @property
    def format(self) -> Format:
        return FORMATS[self.manifest.format]

    @property
    def where(self) -> str:
        return str(self.files.root)

    # Writing

    def write(self, block: Block, keys: str) -> None:
        """The block's files, then its receipt; `keys` is the digest of its samples' keys."""
        data = self.format.encode(self.manifest, block)
        for path, content in data.items():
            self.files.write(path, content)
        receipt = make_receipt(self.manifest, block, keys, data)
        self.files.write(receipt_path(block.view, block.index, block.layer), receipt.to_json())
        self._arithmetics[block.view, block.index, block.layer] = receipt.arithmetic
        if block.view == 0 and not block.layer:
            self._skipped[block.index] = receipt.skipped

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
        """The layers of a block that are not there or not intact."""
        layers = self.manifest.layers
        return tuple(name for name in layers if not self.is_done(view, block, source, name))

    # Reading

    def receipt(self, view: int, block: int, layer: str = "") -> Receipt:
        """InputError where the block is missing or its receipt damaged."""
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

    def _damaged_receipt(self, path: str, error: ValueError) -> InputError:
        return InputError(
            f"the receipt {self.where}/{path} is damaged ({error}): {AGAIN}, it makes the block "
            f"again"
        )

    def check_block(
        self, view: int, block: int, source: ImageSource | None = None, layer: str = ""
    ) -> None:
        """InputError unless the receipt is there and every file has the hash that it names.

        Also where it leaves out other images than the same block of view 0 does, or one of view 0
        than that of another view: there is no telling which of the two is wrong, so both are.
        With a source also unless the block is of exactly its samples.
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
                return  # it is made again itself; this one is compared with it when it is read
            self._require_same_skips(receipt, view, base.skipped)
            return
        for other in range(1, self.manifest.views) if view == 0 else [0]:
            try:
                theirs = self.receipt(other, block)
            except InputError:
                continue  # it is made again itself, and compared then
            self._require_same_skips(receipt, other, theirs.skipped)

    def _require_same_skips(
        self, receipt: Receipt, other: int, theirs: tuple[Skipped, ...]
    ) -> None:
        """InputError unless a block leaves out the images that it does in view `other`."""
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

    def read_block(self, view: int, block: int, names: list[str], alone: bool = False) -> Arrays:
        """The named arrays of one block, (n, ...) each, hashes checked.

        `alone`: whatever view 0 leaves out, for a cache that is still being made.
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
        """The named arrays of one view, (N, ...) each, rows in source order, stored dtype."""
        self.require_views({self._layer_of(name) for name in names})
        whole: Arrays = {}
        for block in range(self.manifest.blocks):
            for name, part in self.read_block(view, block, names).items():
                if name not in whole:
                    whole[name] = np.empty((self.manifest.samples, *part.shape[1:]), part.dtype)
                whole[name][self.manifest.samples_of(block)] = part
        return whole

    def samples_of_blocks(self) -> NDArray[np.int64]:
        """Number of usable samples in each block of a view."""
        blocks = range(self.manifest.blocks)
        return np.array(
            [len(self.manifest.rows(block)) - len(self.skipped_of(block)) for block in blocks]
        )

    def head(self) -> Head | None:
        """The teacher's last layer where the codec derives logits from it, else None."""
        if not self.manifest.encoding.derives_logits:
            return None
        try:
            facts = self.manifest.teacher
            numbers = 4 * facts.classes * (facts.channels[-1] + 1)
            return decode_head(self.files.read(HEAD, MOST_BYTES + numbers), facts)
        except (FileNotFoundError, ValueError) as error:
            raise InputError(
                f"{self.where}/{HEAD}, the teacher's head from which codec {self.manifest.codec} "
                f"derives logits, is missing or damaged ({one_line(error)}): {AGAIN}, it writes "
                f"the file again"
            ) from error

    def is_complete(self) -> bool:
        """True where every layer of every block of every view has a receipt. One listing, no file
        read."""
        there = self.receipt_names()
        return all(
            Path(receipt_path(*unit, layer)).name in there
            for unit in self.units()
            for layer in self.manifest.layers
        )

    def require_views(self, layers: Collection[str] = ("",)) -> None:
        """InputError unless every block of every view has a receipt of each of the layers. One
        listing, no file read."""
        there = self.receipt_names()
        for view, block in self.units():
            for layer in sorted({"", *layers}):
                if Path(receipt_path(view, block, layer)).name not in there:
                    self.receipt(view, block, layer)

    def receipt_names(self) -> set[str]:
        """Of the files in receipts/."""
        return set(self.files.names("receipts"))

    def units(self) -> Iterator[tuple[int, int]]:
        """(view, block) of all that the cache should hold, view by view."""
        for view in range(self.manifest.views):
            for block in range(self.manifest.blocks):
                yield view, block

    def skipped(self) -> list[Skipped]:
        """Images that do not decode, in the order of the blocks; the same in every view."""
        blocks = range(self.manifest.blocks)
        return [item for block in blocks for item in self.skipped_of(block)]

    def num_bytes(self, view: int = 0, layers: Collection[str] | None = None) -> int:
        """Bytes of one view's files, of all layers or those given."""
        receipts = (
            self.receipt(view, block, layer)
            for block in range(self.manifest.blocks)
            for layer in (self.manifest.layers if layers is None else layers)
        )
        return sum(size for receipt in receipts for size, _ in receipt.files.values())

    def arithmetics(self) -> Counter[Arithmetic]:
        """What the blocks were made with -> how many; those that do not say are left out."""
        for unit in self.units():
            for layer in self.manifest.layers:
                if (*unit, layer) not in self._arithmetics:
                    self.receipt(*unit, layer)
        return Counter(found for found in self._arithmetics.values() if found is not None)

    def skipped_of(self, block: int) -> tuple[Skipped, ...]:
        if block not in self._skipped:
            self._skipped[block] = self.receipt(0, block).skipped
        return self._skipped[block]

    def usable_receipt(self, view: int, block: int, layer: str = "") -> Receipt:
        """InputError where it leaves out other images than view 0: the samples of an epoch would
        not be those that were counted."""
        receipt = self.receipt(view, block, layer)
        if view > 0 or layer:
            self._require_same_skips(receipt, 0, self.skipped_of(block))
        return receipt

    def _require_classes(
        self, view: int, block: int, pred: NDArray[np.int32], receipt: Receipt
    ) -> None:
        """InputError unless every sample has a class that the teacher knows, or was skipped."""
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
        """InputError unless the arrays are of the types and shapes that follow from the manifest:
        of others, nothing could be read safely."""
        if not {*names, ""} <= self._shapes_seen:
            try:
                self.format.require_shapes(self.manifest, names, self.read_small)
            except (FileNotFoundError, ValueError, RecursionError) as error:
                raise InputError(
                    f"the metadata in {self.where} do not follow from its manifest "
                    f"({one_line(error)}): {AGAIN}, it writes them again"
                ) from error
            self._shapes_seen |= {*names, ""}

    def read_small(self, path: str) -> bytes:
        return self.files.read(path, MOST_BYTES)

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
