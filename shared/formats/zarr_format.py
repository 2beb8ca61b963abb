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
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, default_buffer_prototype

from shared.errors import InputError
from shared.files.retry import one_line
from shared.formats.zarr_arrays import CHUNK, GROUP, create_arrays, in_group
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
    """Every file that no block writes: the zarr.json files, the labels and the keys."""
    store: dict[str, Buffer] = {}
    create_arrays(manifest, store)["label"][:] = labels
    named = {KEYS: encode_keys(keys)} if manifest.format_version > 1 else {}
    return {**named, **in_group(store)}


def array_metadata(manifest: Manifest) -> dict[str, bytes]:
    """Those that tell the types and shapes of what blocks hold: the zarr.json files."""
    store: dict[str, Buffer] = {}
    create_arrays(manifest, store)
    return in_group(store)


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
    arrays = create_arrays(manifest, store, list(values_of))
    known = set(store)
    rows = manifest.rows(block.index)
    for name, values in values_of.items():
        arrays[name][block.view, rows.start : rows.stop] = values
    return in_group({path: data for path, data in store.items() if path not in known})


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
    arrays = create_arrays(manifest, store, names)
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
    group = create_arrays(manifest, store, ["label"])
    for block in range(manifest.blocks):
        store[f"label/c/{block}"] = prototype.from_bytes(read(f"{GROUP}/label/c/{block}"))
    return np.asarray(group["label"][:], dtype=np.int64)
