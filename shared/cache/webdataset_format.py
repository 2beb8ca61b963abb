"""The webdataset format: self-contained view shards, blocks to tar files and back.

    shards/vVVVV-bBBBBBB.tar    one block of one view, samples in the block's order, which is not
                                the source's (manifest.py); for sample i of the source
        IIIIIIIII.json          {"index": i, "key": its name in the source, "label": its class}
        IIIIIIIII.jpg           the view's pixels (JPEG, see shared/pixels/jpeg.py): what the
                                teacher saw, after decoding
        IIIIIIIII.targets       its targets: one record of the dtype in targets.json
    shards/targets.json         numpy's description of that record

A record is packed and little-endian: the codec's fields in their order, then box (4 int32: top,
left, height, width in source pixels), flip (uint8), pred (int32, the live teacher's argmax). With
plain webdataset or tar:

    np.frombuffer(sample["targets"], np.dtype([tuple(f) for f in json.load(open("targets.json"))]))

Tars are ustar with every time and owner 0: the bytes are a pure function of the contents. Samples
that do not decode have no members.

Shards of version 1 have IIIIIIIII.cls, the label in decimal, in place of the .json, and follow the
order of the source.
"""

import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.cache.block import Block
from shared.cache.manifest import Manifest
from shared.errors import InputError
from shared.files import schema
from shared.files.retry import one_line
from shared.images.listing import Keys
from shared.targets.codecs import CODECS

FOLDER = "shards"
MEMBERS = {  # of a sample, in this order, by the version of the format
    1: ("cls", "jpg", "targets"),
    2: ("json", "jpg", "targets"),
}
TARGETS = f"{FOLDER}/targets.json"
DEFAULT_BLOCK = 1024  # samples: about 25 MB at 224 px
_FACTS = schema.record(  # of the .json of a sample
    {"index": schema.integer(0, 10**9), "key": schema.text, "label": schema.integer(0, 10**6)}
)


def check_block_size(block: int) -> None:
    """Any size will do."""


def metadata(manifest: Manifest, labels: NDArray[np.int64], keys: Keys) -> dict[str, bytes]:
    """Every file that no block writes. Labels and keys are in the shards."""
    return array_metadata(manifest)


def array_metadata(manifest: Manifest) -> dict[str, bytes]:
    """Those that tell the types and shapes of what blocks hold."""
    return {TARGETS: (json.dumps(_description(manifest)) + "\n").encode()}


def static_names(manifest: Manifest) -> set[str]:
    """Paths of the files that no block writes."""
    return {TARGETS}


def require_shapes(manifest: Manifest, names: list[str], read: Callable[[str], bytes]) -> None:
    """ValueError unless targets.json describes the records that the manifest speaks of."""
    if json.loads(read(TARGETS)) != _description(manifest):
        raise ValueError(f"{TARGETS} describes other records than the manifest")


def _description(manifest: Manifest) -> list[list[object]]:
    return [[name, dtype, list(shape)] for name, dtype, shape in _record(manifest)]


def array_paths(manifest: Manifest, view: int, block: int) -> dict[str, str]:
    """Name of each array -> path of the file that holds the block's part of it."""
    return {name: shard_path(view, block) for name, _, _ in _record(manifest)}


def shard_path(view: int, block: int) -> str:
    return f"{FOLDER}/v{view:04d}-b{block:06d}.tar"


def encode(manifest: Manifest, block: Block) -> dict[str, bytes]:
    """A block's shard: path in the split -> bytes."""
    indices = manifest.samples_of(block.index).tolist()
    records = np.zeros(len(indices), np.dtype(_record(manifest)))
    for name, values in block.arrays().items():
        records[name] = values
    skipped = {index for index, _, _ in block.skipped}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, index in enumerate(indices):
            if index not in skipped:
                facts, record = _facts(manifest, block, row, index), records[row].tobytes()
                contents = (facts, block.images[row], record)
                members = MEMBERS[manifest.format_version]
                for extension, data in zip(members, contents, strict=True):
                    _add(tar, f"{index:09d}.{extension}", data)
    return {shard_path(block.view, block.index): buffer.getvalue()}


def _facts(manifest: Manifest, block: Block, row: int, index: int) -> bytes:
    """The first member of a sample: what is known of it besides pixels and targets."""
    label = int(block.label[row])
    if manifest.format_version == 1:
        return str(label).encode()
    return json.dumps({"index": index, "key": block.keys[row], "label": label}).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def decode(
    manifest: Manifest, view: int, block: int, names: list[str], read: Callable[[str], bytes]
) -> dict[str, NDArray[Any]]:
    """The named arrays of one block, (n, ...) each; zeros, and pred -1, of skipped samples."""
    records = np.zeros(len(manifest.rows(block)), np.dtype(_record(manifest)))
    records["pred"] = -1
    found = samples(manifest, block, read(shard_path(view, block)))
    for row, sample in rows_of(manifest, block, found):
        records[row] = unpack(manifest, sample.targets)
    # Copied, because one row of records counts as contiguous whatever its strides, which torch
    # then does not take.
    arrays = {name: records[name].copy() for name in names}
    if "flip" in arrays:
        arrays["flip"] = arrays["flip"].astype(bool)
    return arrays


def rows_of(
    manifest: Manifest, block: int, found: Iterable["StoredView"]
) -> Iterator[tuple[int, "StoredView"]]:
    """(row in the block, sample) of each."""
    row_of = {index: row for row, index in enumerate(manifest.samples_of(block).tolist())}
    return ((row_of[sample.index], sample) for sample in found)


def unpack(manifest: Manifest, data: bytes) -> np.void:
    """One packed member -> its record."""
    dtype = np.dtype(_record(manifest))
    if len(data) != dtype.itemsize:
        raise InputError(
            f"a packed member of targets has {dtype.itemsize} bytes under this manifest: got "
            f"{len(data)}; the shard is of another cache: delete its receipt and run the same "
            f"precompute/run.py command again"
        )
    record: np.void = np.frombuffer(data, dtype)[0]
    return record


@dataclass(frozen=True, slots=True)
class StoredView:
    index: int  # in the source
    label: int
    key: str  # "" in shards of version 1
    jpeg: bytes
    targets: bytes  # packed, see `unpack`


def samples(
    manifest: Manifest, block: int, shard: bytes, skipped: Collection[int] | None = None
) -> Iterator[StoredView]:
    """Every sample of a block's shard, in order. For shards whose hash was checked.

    With `skipped`, the samples of the block that the shard is to lack, the others must be there.

    A header's block of 512 bytes has the name at 0..100 and the size at 124..135, octal; contents
    fill whole blocks; a block of zeros ends the archive. tarfile checks what the hash has proved
    already: with it a cache is read at a third of the speed (tests/bench/store.py).
    InputError where a shard with a right hash is not what this module writes.
    """
    members = MEMBERS[manifest.format_version]
    inside = set(manifest.samples_of(block).tolist())
    classes = len(manifest.source.classes)
    at = 0
    try:
        while shard[at]:
            contents = []
            for extension in members:
                name, _, suffix = shard[at : at + 100].rstrip(b"\0").decode().partition(".")
                if suffix != extension:
                    raise ValueError(f"a member .{extension} was expected, .{suffix} is there")
                size = int(shard[at + 124 : at + 135], 8)
                at += tarfile.BLOCKSIZE
                contents.append(shard[at : at + size])
                at += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            first, jpeg, targets = contents
            index = int(name)
            if manifest.format_version == 1:
                label, key = int(first), ""
            else:
                facts = json.loads(first)
                _FACTS(facts, "")
                label, key = facts["label"], facts["key"]
                if facts["index"] != index:
                    raise ValueError(f"index must be {index}: got {facts['index']}")
            if not 0 <= label < classes:
                raise ValueError(f"label must be one of {classes:,} classes: got {label}")
            inside.remove(index)
            yield StoredView(index, label, key, jpeg, targets)
        if skipped is not None and (lost := sorted(inside - set(skipped))):
            raise ValueError(f"it lacks sample {lost[0]}")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise InputError(
            f"a shard holds the samples of its block: block {block} holds something else at byte "
            f"{at:,} ({one_line(error)}); delete its receipt and run the same precompute/run.py "
            f"command again"
        ) from error


def _record(manifest: Manifest) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, little-endian dtype, shape) of the parts of a packed member, in order."""
    fields = CODECS[manifest.codec].fields(manifest.teacher.classes, manifest.teacher.channels)
    parts = [
        (name, np.dtype(dtype).newbyteorder("<").str, (width,))
        for name, (dtype, width) in fields.items()
    ]
    return [*parts, ("box", "<i4", (4,)), ("flip", "|u1", ()), ("pred", "<i4", ())]
