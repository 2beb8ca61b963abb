"""One split of a cache, on disk or in an object store: open or create, write blocks, read views.

    <cache>/<split>/
        manifest.json            what made it (manifest.py)
        targets.zarr/...         the arrays (zarr_format.py), or
        shards/...               the view shards (webdataset_format.py)
        head.npy                 (C, C_4 + 1) float32: weight and bias, if the codec needs it
        receipts/vVVVV-bBBBBBB.json    one a finished block (block.py)

Writers take whole blocks and share no file, so any number of processes may fill one cache; two that
do the same block by mistake write the same bytes. Readers check the hash of all that they read.
"""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.codecs import CODECS
from shared.errors import InputError
from shared.images import ImageSource
from shared.no_cache import no_cache
from shared.store import webdataset_format, zarr_format
from shared.store.block import Block, Receipt, make_receipt, receipt_path, sha256
from shared.store.files import Files
from shared.store.manifest import MANIFEST, Manifest
from shared.store.object_files import open_files
from shared.store.retry import one_line
from shared.targets import Head

HEAD = "head.npy"
FORMATS = {"zarr": zarr_format, "webdataset": webdataset_format}

Arrays = dict[str, NDArray[Any]]


class Cache:
    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest

    @property
    def format(self) -> ModuleType:  # not kept: a module cannot be pickled, for workers of spawn
        return FORMATS[self.manifest.format]

    @property
    def where(self) -> str:
        return str(self.files.root)

    # Writing

    def write(self, block: Block, keys: str) -> None:
        """The block's files, then its receipt; `keys` is the digest of its samples' keys."""
        rows = self.manifest.rows(block.index)
        data = self.format.encode(self.manifest, block)
        for path, content in data.items():
            self.files.write(path, content)
        receipt = make_receipt(block, rows, keys, data)
        self.files.write(receipt_path(block.view, block.index), receipt.to_json())

    def is_done(self, view: int, block: int, source: ImageSource | None = None) -> bool:
        try:
            self.check_block(view, block, source)
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

    def check_block(self, view: int, block: int, source: ImageSource | None = None) -> None:
        """InputError unless the receipt is there and every file has the hash that it names.

        With a source also unless the block is of exactly its samples.
        """
        receipt = self.receipt(view, block)
        for path in receipt.files:
            self._read_checked(path, receipt)
        if source is not None and receipt.keys != source.key_digest(receipt.start, receipt.stop):
            raise InputError(
                f"a block is of the samples in its rows: block {block} of view {view} in "
                f"{self.where} is of others; delete {receipt_path(view, block)} and run the same "
                f"precompute/run.py command again"
            )

    def check_static(self, labels: NDArray[np.int64]) -> None:
        """InputError unless every file that no block writes is what the manifest makes it."""
        for path, data in self.format.metadata(self.manifest, labels).items():
            if not self.files.exists(path) or self.files.read(path) != data:
                raise InputError(
                    f"a cache's metadata follow from its manifest: {self.where}/{path} does not; "
                    f"run the same precompute/run.py command again, it writes it anew"
                )
        self.head()

    def read_block(self, view: int, block: int, names: list[str]) -> Arrays:
        """The named arrays of one block, (n, ...) each, hashes checked."""
        receipt = self.receipt(view, block)
        arrays: Arrays = self.format.decode(
            self.manifest, view, block, names, lambda path: self._read_checked(path, receipt)
        )
        return arrays

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

    def read_file(self, view: int, block: int, path: str) -> bytes:
        """One file of a block, hash checked."""
        return self._read_checked(path, self.receipt(view, block))

    def images(self, view: int, block: int) -> dict[int, bytes]:
        """Sample index -> JPEG of its view; of a cache in the format webdataset."""
        path = webdataset_format.shard_path(view, block)
        return webdataset_format.decode_images(self.read_file(view, block, path))

    def samples_of_blocks(self) -> NDArray[np.int64]:
        """Number of usable samples in each block of a view."""
        blocks = range(self.manifest.blocks)
        samples = np.array([len(self.manifest.rows(block)) for block in blocks])
        for index, _, _ in self.skipped():
            samples[index // self.manifest.block] -= 1
        return samples

    def labels(self) -> NDArray[np.int64]:
        """(N,) of every sample, as stored; -1 where the format keeps none of a skipped one."""
        if self.manifest.format == "zarr":
            try:
                return zarr_format.labels(self.manifest, self.files.read)
            except (FileNotFoundError, ValueError) as error:
                raise InputError(
                    f"a cache holds the label of every sample: those in {self.where} are missing "
                    f"or damaged ({one_line(error)}); run the same precompute/run.py command "
                    f"again, it writes them anew"
                ) from error
        blocks = range(self.manifest.blocks)
        shards = (self.read_file(0, b, webdataset_format.shard_path(0, b)) for b in blocks)
        return webdataset_format.labels(self.manifest, shards)

    def head(self) -> Head | None:
        """The teacher's last layer where the codec derives logits from it, else None."""
        if not CODECS[self.manifest.codec].derives_logits:
            return None
        try:
            data = self.files.read(HEAD)
            table = np.load(io.BytesIO(data), allow_pickle=False)
            weight = torch.from_numpy(table[:, :-1].copy())
            bias = torch.from_numpy(table[:, -1].copy())
        except Exception as error:  # on damaged bytes NumPy raises whatever it stumbles over
            raise InputError(
                f"codec {self.manifest.codec} derives logits from the teacher's head: "
                f"{self.where}/{HEAD} is missing or damaged; run the same precompute/run.py "
                f"command again, it writes it anew"
            ) from error
        head = Head(weight, bias)
        if head_digest(head) != self.manifest.teacher.head_sha256 or data != _head_file(head):
            raise InputError(
                f"the head has the hash in the manifest: {self.where}/{HEAD} has another; run the "
                f"same precompute/run.py command again, it writes it anew"
            )
        return head

    def is_complete(self) -> bool:
        """True where every block of every view has a receipt. One listing, no file read."""
        there = set(self.files.names("receipts"))
        return all(Path(receipt_path(*unit)).name in there for unit in self.units())

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

    def skips(self, view: int, block: int) -> bool:
        """True where a block left out images that do not decode."""
        return bool(self.receipt(view, block).skipped)

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


def has_split(location: str | Path, split: str) -> bool:
    return open_files(location, split).exists(MANIFEST)


def open_cache(location: str | Path, split: str) -> Cache:
    """An existing split, for reading. InputError where there is none."""
    files = open_files(location, split)
    if not files.exists(MANIFEST):
        raise no_cache(location, split)
    return Cache(files, Manifest.from_json(files.read(MANIFEST), f"{files.root}/{MANIFEST}"))


def create_cache(
    location: str | Path, wanted: Manifest, labels: NDArray[np.int64], head: Head | None
) -> Cache:
    """Opens the split for writing, makes it if it is absent, and adds views if more are wanted.

    `head` is kept where the codec derives logits, and may be None where it does not.
    InputError where what is there was made from anything else.
    """
    files = open_files(location, wanted.split)
    files.remove_stale()
    files.write_new(MANIFEST, wanted.to_json())
    there = open_cache(location, wanted.split).manifest
    wanted.require_same(there, str(files.root))
    manifest = there.with_views(max(wanted.views, there.views))
    static = FORMATS[manifest.format].metadata(manifest, labels)
    if CODECS[manifest.codec].derives_logits:
        assert head is not None
        static[HEAD] = _head_file(head)
    for path, data in static.items():
        if not files.exists(path) or files.read(path) != data:
            files.write(path, data)
    # Last, so that a manifest never promises views that the arrays' shapes do not have room for.
    if manifest.views != there.views:
        files.write(MANIFEST, manifest.to_json())
    return Cache(files, manifest)


def head_digest(head: Head) -> str:
    """sha256 over weight and bias, float32 bytes."""
    parts = (head.weight, head.bias)
    return hashlib.sha256(b"".join(part.float().numpy().tobytes() for part in parts)).hexdigest()


def _head_file(head: Head) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, torch.cat([head.weight, head.bias[:, None]], dim=1).numpy())
    return buffer.getvalue()
