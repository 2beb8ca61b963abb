"""The webdataset format: self-contained view shards, blocks to tar files and back.

    shards/vVVVV-bBBBBBB.tar    one block of one view, samples in source order; for sample i
        IIIIIIIII.cls           its label, decimal
        IIIIIIIII.jpg           the view's pixels (JPEG, see shared/jpeg.py): what the teacher saw,
                                after decoding
        IIIIIIIII.targets       its targets: one record of the dtype in targets.json
    shards/targets.json         numpy's description of that record

A record is packed and little-endian: the codec's fields in their order, then box (4 int32: top,
left, height, width in source pixels), flip (uint8), pred (int32, the live teacher's argmax). With
plain webdataset or tar:

    np.frombuffer(sample["targets"], np.dtype([tuple(f) for f in json.load(open("targets.json"))]))

Tars are ustar with every time and owner 0: the bytes are a pure function of the contents. Samples
that do not decode have no members.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.codecs import CODECS
from shared.errors import InputError
from shared.store.block import Block
from shared.store.manifest import Manifest

FOLDER = "shards"
MEMBERS = ("cls", "jpg", "targets")  # of a sample, in this order
DEFAULT_BLOCK = 1024  # samples: about 25 MB at 224 px


def check_block_size(block: int) -> None:
    """Any size will do."""


def metadata(manifest: Manifest, labels: NDArray[np.int64]) -> dict[str, bytes]:
    """Every file that no block writes."""
    record = [[name, dtype, list(shape)] for name, dtype, shape in _record(manifest)]
    return {f"{FOLDER}/targets.json": (json.dumps(record) + "\n").encode()}


def array_paths(manifest: Manifest, view: int, block: int) -> dict[str, str]:
    """Name of each array -> path of the file that holds the block's part of it."""
    return {name: shard_path(view, block) for name, _, _ in _record(manifest)}


def shard_path(view: int, block: int) -> str:
    return f"{FOLDER}/v{view:04d}-b{block:06d}.tar"


def encode(manifest: Manifest, block: Block) -> dict[str, bytes]:
    """A block's shard: path in the split -> bytes."""
    rows = manifest.rows(block.index)
    records = np.zeros(len(rows), np.dtype(_record(manifest)))
    for name, values in block.arrays().items():
        records[name] = values
    skipped = {index for index, _, _ in block.skipped}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, index in enumerate(rows):
            if index not in skipped:
                label = str(int(block.label[row])).encode()
                contents = (label, block.images[row], records[row].tobytes())
                for extension, data in zip(MEMBERS, contents, strict=True):
                    _add(tar, f"{index:09d}.{extension}", data)
    return {shard_path(block.view, block.index): buffer.getvalue()}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def decode(
    manifest: Manifest, view: int, block: int, names: list[str], read: Callable[[str], bytes]
) -> dict[str, NDArray[Any]]:
    """The named arrays of one block, (n, ...) each; zeros, and pred -1, of skipped samples."""
    rows = manifest.rows(block)
    records = np.zeros(len(rows), np.dtype(_record(manifest)))
    records["pred"] = -1
    for sample in samples(read(shard_path(view, block))):
        records[sample.index - rows.start] = unpack(manifest, sample.targets)
    # Copied, because one row of records counts as contiguous whatever its strides, which torch
    # then does not take.
    arrays = {name: records[name].copy() for name in names}
    if "flip" in arrays:
        arrays["flip"] = arrays["flip"].astype(bool)
    return arrays


def decode_images(shard: bytes) -> dict[int, bytes]:
    """Sample index -> the JPEG of its view."""
    return {sample.index: sample.jpeg for sample in samples(shard)}


def labels(manifest: Manifest, shards: Iterable[bytes]) -> NDArray[np.int64]:
    """(N,) labels from every shard of a view; -1 of skipped samples."""
    found = np.full(manifest.samples, -1, np.int64)
    for shard in shards:
        for sample in samples(shard):
            found[sample.index] = sample.label
    return found


def unpack(manifest: Manifest, data: bytes) -> np.void:
    """One packed member -> its record."""
    dtype = np.dtype(_record(manifest))
    if len(data) != dtype.itemsize:
        raise InputError(
            f"a packed member of targets has {dtype.itemsize} bytes under this manifest: got "
            f"{len(data)}; the shard is of another cache: make it anew with precompute/run.py"
        )
    record: np.void = np.frombuffer(data, dtype)[0]
    return record


@dataclass(frozen=True, slots=True)
class Sample:
    index: int
    label: int
    jpeg: bytes
    targets: bytes  # packed, see `unpack`


def samples(shard: bytes) -> Iterator[Sample]:
    """Every sample of a shard, in order. For shards of this module whose hash was checked.

    A header's block of 512 bytes has the name at 0..100 and the size at 124..135, octal; contents
    fill whole blocks; a block of zeros ends the archive. tarfile checks what the hash has proved
    already: with it a cache is read at a third of the speed (tests/bench/store.py).
    """
    at = 0
    while shard[at]:
        contents = []
        for extension in MEMBERS:
            key, _, suffix = shard[at : at + 100].rstrip(b"\0").decode().partition(".")
            assert suffix == extension, (key, suffix)
            size = int(shard[at + 124 : at + 135], 8)
            at += tarfile.BLOCKSIZE
            contents.append(shard[at : at + size])
            at += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        label, jpeg, targets = contents
        yield Sample(int(key), int(label), jpeg, targets)


def _record(manifest: Manifest) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, little-endian dtype, shape) of the parts of a packed member, in order."""
    fields = CODECS[manifest.codec].fields(manifest.teacher.classes, manifest.teacher.channels)
    parts = [
        (name, np.dtype(dtype).newbyteorder("<").str, (width,))
        for name, (dtype, width) in fields.items()
    ]
    return [*parts, ("box", "<i4", (4,)), ("flip", "|u1", ()), ("pred", "<i4", ())]
