"""The zarr format: encodes blocks as whole shard files and decodes them, without any I/O.

    targets.zarr/               a zarr v3 group, readable with plain zarr.open_group
        channels  (V, N, sum C_s)    the codec's dtype; attribute `stages` = [C_1, ..., C_4]
        logits    (V, N, C)     if the codec stores them; otherwise derived through the head
        scale     (V, N, 4)     float32, codec `tiny` only
        KIND      (V, N, ...)   for each layer, like attention4; `tiny` adds a KIND_scale
        box       (V, N, 4)     int32: top, left, height, width in source pixels
        flip      (V, N)        bool
        pred      (V, N)        int32: argmax of the live teacher; -1 for a skipped sample
        label     (N,)          int32
    keys.txt                    the samples' keys, see keys.py; not in version 1

V views, N samples in source order, C classes, C_s channels in stage s. A shard is one block, of
shape (1, block, ...). Its inner chunks (1, 1024, ...) are byte-shuffled, compressed with zstd and
followed by a crc32c. Chunks of layers have fewer rows if 1024 would take more than LARGEST_CHUNK.

Attributes of the group and of each array explain their contents (not in version 1), so that a cache
can be read with plain zarr, without this code.

zarr encodes in memory only. The bytes are stored by shared/files, which writes atomically, unlike
zarr's own stores. This way hashes are known before anything is written. Blocks are decoded without
zarr, by shard_bytes.py.
"""

import json
from functools import partial

import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, default_buffer_prototype

from shared.errors import InputError
from shared.files.retry import one_line
from shared.formats import shard_bytes
from shared.formats.block_files import Arrays, BlockFiles, Into, Read
from shared.formats.shard_bytes import decode_shard
from shared.formats.zarr_arrays import CHUNK, GROUP, create_arrays, in_group, layouts
from shared.images.listing import Keys
from shared.records.block import Block
from shared.records.keys import KEYS, encode_keys
from shared.records.manifest import Manifest
from shared.records.receipt import block_name

DEFAULT_BLOCK = 8 * CHUNK  # samples


def check_block_size(block: int) -> None:
    if block < 1 or (block > CHUNK and block % CHUNK):
        raise InputError(
            f"--block must be 1 to {CHUNK}, or a multiple of {CHUNK}: got {block}; give one of "
            f"these"
        )


def metadata(manifest: Manifest, labels: NDArray[np.int64], keys: Keys) -> dict[str, bytes]:
    """The files that belong to no block: the zarr.json files, the labels and the keys."""
    store: dict[str, Buffer] = {}
    create_arrays(manifest, store)["label"][:] = labels
    named = {KEYS: encode_keys(keys)} if manifest.format_version > 1 else {}
    return {**named, **in_group(store)}


def array_metadata(manifest: Manifest) -> dict[str, bytes]:
    """The zarr.json files, which describe the dtypes and shapes of the arrays."""
    store: dict[str, Buffer] = {}
    create_arrays(manifest, store)
    return in_group(store)


def static_names(manifest: Manifest) -> set[str]:
    """Paths of the files that belong to no block."""
    labels = {f"{GROUP}/label/c/{block}" for block in range(manifest.blocks)}
    named = {KEYS} if manifest.format_version > 1 else set()
    return {*array_metadata(manifest), *labels, *named}


def require_shapes(manifest: Manifest, names: list[str], read: Read) -> None:
    """Raises ValueError unless each array's zarr.json has the dtype and shape of the manifest.

    A zarr.json may have more views than the manifest, because views are added to it first.
    """
    expected = array_metadata(manifest)
    for name in names:
        path = f"{GROUP}/{name}/zarr.json"
        (views, mine), (more, theirs) = _layout(expected[path], name), _layout(read(path), name)
        if mine != theirs or more < views:
            raise ValueError(f"{path} describes another array than the manifest")


def _layout(data: bytes, name: str) -> tuple[int, object]:
    """(views, shape without views, dtype and shard shape) in a zarr.json.

    Raises ValueError if they are missing.
    """
    facts = json.loads(data)
    try:
        shape, dtype = list(facts["shape"]), facts["data_type"]
        shard = facts["chunk_grid"]["configuration"]["chunk_shape"]
        views = shape.pop(0) if name != "label" else 1
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"the metadata of {name} are not those of an array") from error
    if type(views) is not int:
        raise ValueError(f"the metadata of {name} have a strange shape")
    return views, (shape, dtype, shard)


def encode(manifest: Manifest, block: Block) -> dict[str, bytes]:
    """The shard files of a block: path in the split -> bytes."""
    store: dict[str, Buffer] = {}
    values_of = block.arrays()
    arrays = create_arrays(manifest, store, list(values_of))
    known = set(store)
    rows = manifest.rows(block.index)
    for name, values in values_of.items():
        arrays[name][block.view, rows.start : rows.stop] = values
    return in_group({path: data for path, data in store.items() if path not in known})


def array_paths(manifest: Manifest, view: int, block: int, layer: str = "") -> dict[str, str]:
    """Name of each array in a layer -> path of the shard with the block's part of it."""
    fields = manifest.encoding.fields(manifest.kinds_of(layer))
    shapes = {name: shape for name, (_, shape) in fields.items()}
    if not layer:
        shapes.update(box=(4,), flip=(), pred=())
    return {
        name: f"{GROUP}/{name}/c/{view}/{block}" + "/0" * len(shape)
        for name, shape in shapes.items()
    }


def decode(
    manifest: Manifest, view: int, block: int, names: list[str], read: Read, into: Into = None
) -> Arrays:
    """The named arrays of one block, (n, ...) each.

    `read` returns the bytes of a path, with their hash checked. `into`: arrays to decode to, by
    name; new ones are made for the others.
    """
    found: Arrays = {}
    paths = _paths(manifest, view, block, names)
    for name, layout in layouts(manifest, names).items():
        rows = (len(manifest.rows(block)), *layout.shape)
        values = into[name] if into and name in into else np.empty(rows, layout.dtype)
        data = read(paths[name])
        try:
            decode_shard(data, layout, values)
        except ValueError as error:
            raise InputError(
                f"{paths[name]} has the hash in its receipt, but is not a shard of its array "
                f"({one_line(error)}): delete the receipt, "
                f"{block_name(view, block, manifest.layer_of(name))}, and run the same "
                f"precompute/run.py command again"
            ) from error
        found[name] = values
    return found


def decode_rows(
    manifest: Manifest, view: int, block: int, rows: range, names: list[str], files: BlockFiles
) -> Arrays:
    """Rows of the named arrays of one block, (len(rows), ...) each; see Format."""
    found: Arrays = {}
    paths = _paths(manifest, view, block, names)
    for name, layout in layouts(manifest, names).items():
        path, values = paths[name], np.empty((len(rows), *layout.shape), layout.dtype)
        part = partial(_part, files, path)
        try:
            shard_bytes.decode_rows(part, files.size(path), layout, rows.start, values)
        except InputError:
            raise
        except ValueError as error:
            raise files.damaged(path, str(error)) from error
        found[name] = values
    return found


def _part(files: BlockFiles, path: str, start: int, stop: int) -> NDArray[np.uint8]:
    return np.frombuffer(files.part(path, start, stop), np.uint8)


def _paths(manifest: Manifest, view: int, block: int, names: list[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for layer in {manifest.layer_of(name) for name in names}:
        paths.update(array_paths(manifest, view, block, layer))
    return paths


def labels(manifest: Manifest, read: Read) -> NDArray[np.int64]:
    """(N,) labels, as stored."""
    prototype = default_buffer_prototype().buffer
    store: dict[str, Buffer] = {}
    group = create_arrays(manifest, store, ["label"])
    for block in range(manifest.blocks):
        store[f"label/c/{block}"] = prototype.from_bytes(read(f"{GROUP}/label/c/{block}"))
    return np.asarray(group["label"][:], dtype=np.int64)
