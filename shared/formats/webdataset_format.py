"""The webdataset format: converts blocks to self-contained view shards (tars) and back.

    shards/vVVVV-bBBBBBB.tar    one block of one view, with its samples in the block's order, which
                                is not the source's (manifest.py); for sample i of the source:
        IIIIIIIII.json          {"index": i, "key": its name in the source, "label": its class}; if
                                views are mixed of two images, also "partner_label": the other
                                image's class, and "share": the weight of "label", 0 to 1
        IIIIIIIII.jpg           the view's pixels as a JPEG (shared/pixels/jpeg.py); the teacher
                                saw this JPEG, decoded
        IIIIIIIII.targets       its targets: one record of the dtype in targets.json
    shards/targets.json         NumPy's description of that record
    shards/vVVVV-bBBBBBB.KIND.tar   a layer (like attention4) of the same block; for each sample:
        IIIIIIIII.KIND          its targets of that kind: one record of the dtype in KIND.json
    shards/KIND.json            NumPy's description of that record

A record is packed and little-endian: the codec's fields in order, then box (4 int32: top, left,
height, width in source pixels), flip (uint8), pred (int32, the live teacher's argmax). A layer's
record has the codec's fields only. To read one with plain webdataset or tar:

    parts = [(name, dtype, tuple(shape)) for name, dtype, shape in json.load(open("targets.json"))]
    np.frombuffer(sample["targets"], np.dtype(parts))

Tars are ustar with all times and owners 0, so the bytes depend on the contents alone. Samples that
do not decode have no members.

In version 1, IIIIIIIII.cls (the label in decimal) takes the place of the .json, and samples are in
the order of the source.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.formats.block_files import Arrays, BlockFiles, Into, Read
from shared.formats.shard_samples import StoredView, members_of, samples_in
from shared.images.listing import Keys
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.records.receipt import block_name

FOLDER = "shards"
TARGETS = f"{FOLDER}/targets.json"
DEFAULT_BLOCK = 1024  # samples: about 25 MB at 224 px


def check_block_size(block: int) -> None:
    """Accepts any size."""


def metadata(manifest: Manifest, labels: NDArray[np.int64], keys: Keys) -> dict[str, bytes]:
    """The files that belong to no block. Labels and keys are in the shards."""
    return array_metadata(manifest)


def array_metadata(manifest: Manifest) -> dict[str, bytes]:
    """The files that describe the types and shapes of the blocks' contents."""
    return {
        _description_path(layer): (json.dumps(_description(manifest, layer)) + "\n").encode()
        for layer in manifest.layers
    }


def static_names(manifest: Manifest) -> set[str]:
    """The paths of the files that belong to no block."""
    return set(map(_description_path, manifest.layers))


def require_shapes(manifest: Manifest, names: list[str], read: Read) -> None:
    """Raises ValueError unless the JSON files describe the records that the manifest implies."""
    for layer in {"", *map(manifest.layer_of, names)}:
        path = _description_path(layer)
        if json.loads(read(path)) != _description(manifest, layer):
            raise ValueError(f"{path} describes other records than the manifest")


def _description_path(layer: str) -> str:
    return f"{FOLDER}/{layer or 'targets'}.json"


def _description(manifest: Manifest, layer: str) -> list[list[object]]:
    return [[name, dtype, list(shape)] for name, dtype, shape in _record(manifest, layer)]


def array_paths(manifest: Manifest, view: int, block: int, layer: str = "") -> dict[str, str]:
    """Name of each array in a layer -> path of the file that has the block's part of it."""
    return {name: shard_path(view, block, layer) for name, _, _ in _record(manifest, layer)}


def shard_path(view: int, block: int, layer: str = "") -> str:
    return f"{FOLDER}/{block_name(view, block, layer)}.tar"


def encode(manifest: Manifest, block: Block) -> dict[str, bytes]:
    """The shard of a block: path in the split -> bytes."""
    indices = manifest.samples_of(block.index).tolist()
    records = np.zeros(len(indices), record_dtype(manifest, block.layer))
    for name, values in block.arrays().items():
        records[name] = values
    skipped = {index for index, _, _ in block.skipped}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, index in enumerate(indices):
            if index in skipped:
                continue
            contents = [records[row].tobytes()]
            if not block.layer:
                contents[:0] = [_facts(manifest, block, row, index), block.images[row]]
            for extension, data in zip(members_of(manifest, block.layer), contents, strict=True):
                _add(tar, f"{index:09d}.{extension}", data)
    return {shard_path(block.view, block.index, block.layer): buffer.getvalue()}


def _facts(manifest: Manifest, block: Block, row: int, index: int) -> bytes:
    """The first member of a sample: its index, key and label; in version 1 the label alone."""
    label = int(block.label[row])
    if manifest.format_version == 1:
        return str(label).encode()
    facts: dict[str, object] = {"index": index, "key": block.keys[row], "label": label}
    if manifest.view_policy.mixes:
        facts["partner_label"], facts["share"] = block.mixed[row]
    return json.dumps(facts).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def decode(
    manifest: Manifest, view: int, block: int, names: list[str], read: Read, into: Into = None
) -> Arrays:
    """The named arrays of one block, (n, ...) each; skipped samples are zeros, with pred -1."""
    arrays: Arrays = {}
    for layer in sorted({manifest.layer_of(name) for name in names}):
        dtype = record_dtype(manifest, layer)
        records = np.zeros(len(manifest.rows(block)), dtype)
        if not layer:
            records["pred"] = -1
        data = read(shard_path(view, block, layer))
        found = samples_in(manifest, block, data, layer)
        for row, sample in rows_of(manifest, block, found):
            records[row] = unpack(dtype, sample.targets)
        # Copy, because NumPy calls a field of a single record contiguous whatever its strides, and
        # torch does not accept those.
        inside = [name for name in names if manifest.layer_of(name) == layer]
        arrays.update({name: records[name].copy() for name in inside})
    if "flip" in arrays:
        arrays["flip"] = arrays["flip"].astype(bool)
    return {name: arrays[name] for name in names}


def decode_rows(
    manifest: Manifest, view: int, block: int, rows: range, names: list[str], files: BlockFiles
) -> Arrays:
    """Some rows of a block. Reads the whole shard, because a tar has no checksums of its parts."""
    arrays = decode(manifest, view, block, names, files.whole)
    return {name: values[rows.start : rows.stop].copy() for name, values in arrays.items()}


def rows_of(
    manifest: Manifest, block: int, found: Iterable["StoredView"]
) -> Iterator[tuple[int, "StoredView"]]:
    """(row in the block, sample) for each sample in `found`."""
    row_of = {index: row for row, index in enumerate(manifest.samples_of(block).tolist())}
    return ((row_of[sample.index], sample) for sample in found)


def record_dtype(manifest: Manifest, layer: str = "") -> np.dtype[np.void]:
    """The dtype of a packed member of a layer."""
    return np.dtype(_record(manifest, layer))


def unpack(dtype: np.dtype[np.void], data: bytes) -> np.void:
    """The record in a packed member. Raises InputError if its size is wrong."""
    if len(data) != dtype.itemsize:
        raise InputError(
            f"a packed member of targets has {len(data)} bytes instead of the {dtype.itemsize} of "
            f"this manifest, so the shard is of another cache: delete its receipt and run the same "
            f"precompute/run.py command again"
        )
    record: np.void = np.frombuffer(data, dtype)[0]
    return record


def _record(manifest: Manifest, layer: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, little-endian dtype, shape) of each part of a packed member, in order."""
    fields = manifest.encoding.fields(manifest.kinds_of(layer))
    parts = [
        (name, np.dtype(dtype).newbyteorder("<").str, shape)
        for name, (dtype, shape) in fields.items()
    ]
    if layer:
        return parts
    return [*parts, ("box", "<i4", (4,)), ("flip", "|u1", ()), ("pred", "<i4", ())]
