"""The zarr format: blocks to whole shard files and back, as pure functions of bytes.

    targets.zarr/               a zarr v3 group, readable with plain zarr.open_group
        channels  (V, N, sum C_s)    codec's dtype; attribute `stages` = [C_1, ..., C_4]
        logits    (V, N, C)     where the codec stores them; else derived from the head
        scale     (V, N, 4)     float32, codec `tiny` only
        KIND      (V, N, ...)   of each layer, like attention4; `tiny` has a KIND_scale beside it
        box       (V, N, 4)     int32: top, left, height, width in source pixels
        flip      (V, N)        bool
        pred      (V, N)        int32: the live teacher's argmax; -1: skipped sample
        label     (N,)          int32
    keys.txt                    the samples' keys, see keys.py; not in version 1

Each array and the group say in attributes what they hold (not in version 1), so that a reader with
plain zarr needs none of this.

V views, N samples in source order, C classes, C_s channels of stage s. One shard = one block:
(1, block, ...), in inner chunks of (1, 1024, ...), each byte-shuffled, zstd, with a crc32c. Chunks
of layers have fewer rows where 1024 would take more than LARGEST_CHUNK.

zarr encodes and decodes here in memory only; the bytes go through `files/`, which is atomic where
zarr's own stores are not, and their hashes are known before anything touches the disk.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numcodecs.blosc  # type: ignore[import-untyped]  # it has no type hints
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from shared.errors import InputError
from shared.files.retry import one_line
from shared.formats.zarr_meaning import array_meaning, group_meaning
from shared.images.listing import Keys
from shared.records.block import Block
from shared.records.identity import cache_id
from shared.records.keys import KEYS, encode_keys
from shared.records.manifest import Manifest
from shared.records.receipt import block_name

GROUP = "targets.zarr"
CHUNK = 1024  # samples
DEFAULT_BLOCK = 8 * CHUNK
LARGEST_CHUNK = 8 << 20  # bytes, of layers

# With its own threads, blosc stores parts in the order in which they finish, so that every time the
# bytes differ.
numcodecs.blosc.use_threads = False


def check_block_size(block: int) -> None:
    if block < 1 or (block > CHUNK and block % CHUNK):
        raise InputError(
            f"--block must be 1 to {CHUNK}, or a multiple of {CHUNK}: got {block}; give one of "
            f"these"
        )


def metadata(manifest: Manifest, labels: NDArray[np.int64], keys: Keys) -> dict[str, bytes]:
    """Every file that no block writes: the zarr.json files, the labels and the keys."""
    store: dict[str, Buffer] = {}
    _create(manifest, store)["label"][:] = labels
    named = {KEYS: encode_keys(keys)} if manifest.format_version > 1 else {}
    return {**named, **_with_prefix(store)}


def array_metadata(manifest: Manifest) -> dict[str, bytes]:
    """Those that tell the types and shapes of what blocks hold: the zarr.json files."""
    store: dict[str, Buffer] = {}
    _create(manifest, store)
    return _with_prefix(store)


def static_names(manifest: Manifest) -> set[str]:
    """Paths of the files that no block writes."""
    labels = {f"{GROUP}/label/c/{block}" for block in range(manifest.blocks)}
    named = {KEYS} if manifest.format_version > 1 else set()
    return {*array_metadata(manifest), *labels, *named}


def require_shapes(manifest: Manifest, names: list[str], read: Callable[[str], bytes]) -> None:
    """ValueError unless the zarr.json of each array has the type and shape of the manifest.

    It may have more views: they are added there first.
    """
    expected = array_metadata(manifest)
    for name in names:
        path = f"{GROUP}/{name}/zarr.json"
        (views, mine), (more, theirs) = _layout(expected[path], name), _layout(read(path), name)
        if mine != theirs or more < views:
            raise ValueError(f"{path} describes another array than the manifest")


def _layout(data: bytes, name: str) -> tuple[int, object]:
    """(views, all else that reading an array depends on) of a zarr.json. ValueError."""
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
    """A block's shard files: path in the split -> bytes."""
    store: dict[str, Buffer] = {}
    values_of = block.arrays()
    arrays = _create(manifest, store, list(values_of))
    known = set(store)
    rows = manifest.rows(block.index)
    for name, values in values_of.items():
        arrays[name][block.view, rows.start : rows.stop] = values
    return _with_prefix({path: data for path, data in store.items() if path not in known})


def array_paths(manifest: Manifest, view: int, block: int, layer: str = "") -> dict[str, str]:
    """Name of each array of a layer -> path of the block's shard of it."""
    fields = manifest.encoding.fields(manifest.kinds_of(layer))
    shapes = {name: shape for name, (_, shape) in fields.items()}
    if not layer:
        shapes.update(box=(4,), flip=(), pred=())
    return {
        name: f"{GROUP}/{name}/c/{view}/{block}" + "/0" * len(shape)
        for name, shape in shapes.items()
    }


def decode(
    manifest: Manifest, view: int, block: int, names: list[str], read: Callable[[str], bytes]
) -> dict[str, NDArray[np.generic]]:
    """The named arrays of one block, (n, ...) each; `read` takes a path to its checked bytes."""
    prototype = default_buffer_prototype().buffer
    store: dict[str, Buffer] = {}
    arrays = _create(manifest, store, names)
    rows = manifest.rows(block)
    paths: dict[str, str] = {}
    for layer in {manifest.layer_of(name) for name in names}:
        paths.update(array_paths(manifest, view, block, layer))
    found = {}
    for name in names:
        store[paths[name].removeprefix(f"{GROUP}/")] = prototype.from_bytes(read(paths[name]))
        try:
            found[name] = np.asarray(arrays[name][view, rows.start : rows.stop])
        except MemoryError:
            raise
        except Exception as error:  # on bytes that it did not write, zarr raises anything
            raise InputError(
                f"{paths[name]} has the hash in its receipt, but is not a shard of its array "
                f"({one_line(error)}): delete the receipt, "
                f"{block_name(view, block, manifest.layer_of(name))}, and run the same "
                f"precompute/run.py command again"
            ) from error
    return found


def labels(manifest: Manifest, read: Callable[[str], bytes]) -> NDArray[np.int64]:
    """(N,) labels, as stored."""
    prototype = default_buffer_prototype().buffer
    store: dict[str, Buffer] = {}
    group = _create(manifest, store, ["label"])
    for block in range(manifest.blocks):
        store[f"label/c/{block}"] = prototype.from_bytes(read(f"{GROUP}/label/c/{block}"))
    return np.asarray(group["label"][:], dtype=np.int64)


def _shapes(manifest: Manifest) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> (shape, dtype) of every array."""
    rows = (manifest.views, manifest.samples)
    fields = manifest.encoding.fields()
    return {
        **{name: ((*rows, *shape), dtype) for name, (dtype, shape) in fields.items()},
        "box": ((*rows, 4), "int32"),
        "flip": (rows, "bool"),
        "pred": (rows, "int32"),
        "label": ((manifest.samples,), "int32"),
    }


def _create(
    manifest: Manifest, store: dict[str, Buffer], names: list[str] | None = None
) -> dict[str, zarr.Array[Any]]:
    """The named arrays, or all of them; their metadata go into `store`."""
    arrays = {}
    attributes = {"cache_id": cache_id(manifest), **group_meaning(manifest)}
    group = zarr.create_group(MemoryStore(store), attributes=attributes)
    for name, (shape, dtype) in _shapes(manifest).items():
        if names is not None and name not in names:
            continue
        lead, tail = ((), ()) if name == "label" else ((1,), shape[2:])
        size = np.dtype(dtype).itemsize
        chunk = min(CHUNK, manifest.block)
        if manifest.layer_of(name):
            while chunk % 2 == 0 and chunk * math.prod(tail) * size > LARGEST_CHUNK:
                chunk //= 2
        shuffle = BloscShuffle.shuffle if size > 1 else BloscShuffle.noshuffle
        blosc = BloscCodec(typesize=size, cname="zstd", clevel=1, shuffle=shuffle)
        arrays[name] = group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(*lead, chunk, *tail),
            shards=(*lead, manifest.block, *tail),
            compressors=[blosc, Crc32cCodec()],
            fill_value=0,
            attributes=array_meaning(manifest, name),
            # Without it a chunk of zeros is not written, and a lost one reads as zeros. It is the
            # handle's, not the file's: group[name] would be another handle, without it.
            config={"write_empty_chunks": True},
        )
    return arrays


def _with_prefix(store: Mapping[str, Buffer]) -> dict[str, bytes]:
    return {f"{GROUP}/{path}": data.to_bytes() for path, data in sorted(store.items())}
