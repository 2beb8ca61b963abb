"""Creates the arrays of the zarr format in memory, with their shapes, chunks and codecs."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numcodecs.blosc  # type: ignore[import-untyped]  # it has no type hints
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from shared.formats.shard_bytes import Layout
from shared.formats.zarr_meaning import array_meaning, group_meaning
from shared.records.identity import cache_id
from shared.records.manifest import Manifest

GROUP = "targets.zarr"
CHUNK = 1024  # samples
LARGEST_CHUNK = 8 << 20  # bytes, for arrays of layers

# blosc's own threads would store parts in the order in which they finish, so that the bytes would
# differ from run to run.
numcodecs.blosc.use_threads = False


def _shapes(manifest: Manifest) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name of each array -> (shape, dtype)."""
    rows = (manifest.views, manifest.samples)
    fields = manifest.encoding.fields()
    return {
        **{name: ((*rows, *shape), dtype) for name, (dtype, shape) in fields.items()},
        "box": ((*rows, 4), "int32"),
        "flip": (rows, "bool"),
        "pred": (rows, "int32"),
        "label": ((manifest.samples,), "int32"),
    }


def layouts(manifest: Manifest, names: Iterable[str]) -> dict[str, Layout]:
    """The layout of the shards of each named array."""
    shapes, found = _shapes(manifest), {}
    for name in names:
        shape, dtype = shapes[name]
        tail = () if name == "label" else shape[2:]
        chunk = min(CHUNK, manifest.block)
        if manifest.layer_of(name):
            row = math.prod(tail) * np.dtype(dtype).itemsize
            while chunk % 2 == 0 and chunk * row > LARGEST_CHUNK:
                chunk //= 2
        found[name] = Layout(manifest.block, chunk, tail, np.dtype(dtype))
    return found


def create_arrays(
    manifest: Manifest, store: dict[str, Buffer], names: list[str] | None = None
) -> dict[str, zarr.Array[Any]]:
    """Creates the named arrays, or all, in a new group whose files are put into `store`."""
    arrays = {}
    attributes = {"cache_id": cache_id(manifest), **group_meaning(manifest)}
    group = zarr.create_group(MemoryStore(store), attributes=attributes)
    for name, (shape, dtype) in _shapes(manifest).items():
        if names is not None and name not in names:
            continue
        layout, size = layouts(manifest, [name])[name], np.dtype(dtype).itemsize
        lead, tail = () if name == "label" else (1,), layout.shape
        shuffle = BloscShuffle.shuffle if size > 1 else BloscShuffle.noshuffle
        blosc = BloscCodec(typesize=size, cname="zstd", clevel=1, shuffle=shuffle)
        arrays[name] = group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(*lead, layout.chunk, *tail),
            shards=(*lead, layout.rows, *tail),
            compressors=[blosc, Crc32cCodec()],
            fill_value=0,
            attributes=array_meaning(manifest, name),
            # Otherwise chunks of zeros are not written, and a lost chunk reads as zeros. The
            # setting belongs to this handle, not to the file: group[name] would not have it.
            config={"write_empty_chunks": True},
        )
    return arrays


def in_group(store: Mapping[str, Buffer]) -> dict[str, bytes]:
    return {f"{GROUP}/{path}": data.to_bytes() for path, data in sorted(store.items())}
