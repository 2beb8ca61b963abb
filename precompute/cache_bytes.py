"""Predicts the bytes of a cache from a few of its rows, before the cache is made.

The bytes of a file are not proportional to its rows: chunks and tars are padded, and headers have a
fixed size. So the rows at hand are encoded by the format itself, in blocks of the run's size. If
there are too few for a block, each missing row is taken to add as much as a row in the second half
of those at hand. Arrays of zarr need rows from the teacher, because they are compressed. In view
shards only the sizes of the JPEGs vary, so those of further views are used too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np

from precompute.decoding import Decoding
from precompute.job import Job
from precompute.rows import alone, joined, taken
from shared.errors import InputError
from shared.formats.format import FORMATS
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.records.manifest_json import manifest_json
from shared.records.receipt import make_receipt
from shared.store.head_file import encode_head
from shared.store.tails_file import encode as encode_tails
from shared.store.view_memory import in_codecs
from shared.targets.tails import Tails
from shared.targets.targets import Targets

INDEX_ENTRY = 53  # bytes per receipt in receipts.index, besides its copy


@dataclass(frozen=True)
class CacheBytes:
    layers: dict[str, float]  # layer -> bytes of its files in one view
    receipts: float  # bytes of the receipts of one view, and of their copies in receipts.index
    static: int  # bytes of the files that belong to no view

    def total(self, views: int) -> float:
        return views * (sum(self.layers.values()) + self.receipts) + self.static


def predict(
    job: Job, blocks: Mapping[str, Sequence[Block]], seen: Decoding, tails: Tails | None
) -> CacheBytes:
    """`blocks`: layer -> blocks of any size that the teacher has made."""
    manifest = job.manifest
    layers, receipts = {}, 0.0
    for layer in manifest.layers:
        rows = joined(blocks[layer])
        if rows.images:
            rows = _with_views(rows, seen)
        layers[layer], of_receipts = bytes_of_view(manifest, rows)
        receipts += 2 * of_receipts + INDEX_ENTRY * manifest.blocks
    return CacheBytes(layers, receipts, _static_bytes(job, tails))


def predict_codecs(
    manifest: Manifest, blocks: Mapping[str, Sequence[Block]], targets: Targets, seen: Decoding
) -> dict[str, float]:
    """Codec -> bytes of the files of a view, from the `targets` of a batch; without the codecs that
    cannot hold them."""
    found = {}
    rows = {layer: joined(blocks[layer]) for layer in manifest.layers}
    index = np.arange(min(map(len, targets.values()))) % max(1, len(rows[""].pred))
    for codec, other in in_codecs(manifest).items():
        total = 0.0
        for layer, some in rows.items():
            try:
                fields = other.encoding.encode(targets, other.kinds_of(layer))
            except InputError:
                break
            coded = replace(taken(replace(some, fields={}), index), fields=fields)
            total += bytes_of_view(other, _with_views(coded, seen) if coded.images else coded)[0]
        else:
            found[codec] = total
    return found


def bytes_of_view(manifest: Manifest, rows: Block) -> tuple[float, float]:
    """(bytes of the files, bytes of the receipts) of a layer in one view.

    `rows`: any number of rows of the layer, as one block, without images that do not decode."""
    count = len(rows.pred)
    if not count:
        return 0.0, 0.0

    def size(start: int, stop: int) -> int:
        return _encoded(manifest, taken(rows, np.arange(start, stop)))[0]

    full, last = divmod(manifest.samples, manifest.block)
    files = sum(
        number * _bytes_of_block(block, count, size)
        for number, block in ((full, manifest.block), (1, last))
        if number and block
    )
    a_block = taken(rows, np.arange(min(count, manifest.block)))
    return files, manifest.blocks * _encoded(manifest, a_block)[1]


def _bytes_of_block(rows: int, count: int, size: Callable[[int, int], int]) -> float:
    """Bytes of a block of `rows` rows, where `size` gives those of a block of some of `count`."""
    if count >= rows:
        return mean(size(start, start + rows) for start in range(0, count - rows + 1, rows))
    if count == 1:
        return float(size(0, 1) * rows)
    whole, half = size(0, count), count // 2
    return whole + (rows - count) * (whole - size(0, half)) / (count - half)


def _encoded(manifest: Manifest, rows: Block) -> tuple[int, int]:
    """(bytes of the files, bytes of the receipt) of a block with these rows."""
    small = alone(manifest, rows)
    checked = small.samples_of(0)[:2].tolist()
    block = replace(rows, pixels=dict.fromkeys(checked, "0" * 64))
    files = FORMATS[manifest.format].encode(small, block)
    receipt = make_receipt(small, block, "0" * 64, files)
    return sum(map(len, files.values())), len(receipt.to_json())


def _with_views(rows: Block, seen: Decoding) -> Block:
    """Rows of a block of view shards, and one more for each of the views in `seen`."""
    more = taken(rows, np.arange(len(seen.jpegs)) % len(rows.pred))
    keys = tuple(seen.source.keys[index] for index in seen.index)
    return joined([rows, replace(more, images=tuple(seen.jpegs), keys=keys if rows.keys else ())])


def _static_bytes(job: Job, tails: Tails | None) -> int:
    """Bytes of the manifest, of metadata, labels and keys, of the head and of channels.json."""
    manifest, source = job.manifest, job.source
    files = FORMATS[manifest.format].metadata(manifest, source.labels, source.keys)
    found = sum(map(len, files.values())) + len(manifest_json(manifest))
    if manifest.encoding.derives_logits and job.teacher.head is not None:
        found += len(encode_head(job.teacher.head))
    if tails is not None and manifest.split == "train":
        found += len(encode_tails(manifest, tails))
    return found
