"""Decodes the shards of zarr_format.py from their bytes, without zarr.

zarr builds its metadata and a plan for every call: 14 ms a block, and for codec `tiny` more time
than the decompression. This decoder knows one layout, which is all that zarr_arrays.py writes:

    chunk 0 | chunk 1 | ... | index | crc32c of the index

An inner chunk is CHUNK rows, compressed with blosc and followed by its crc32c. The index has the
offset and size in bytes of every chunk, as two little-endian uint64. Both are 2^64 - 1 if the shard
has no such chunk, and zarr reads such rows as zeros. Chunks reach beyond the last row of the array.

Nothing in the bytes is trusted. Offsets, sizes and the lengths in blosc's header are compared with
what is there and what is due before blosc reads or writes anything. All functions raise ValueError
if they differ, and release the GIL while they decompress, so that threads can share the work.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc  # type: ignore[import-untyped]  # it has no type hints
from numpy.typing import NDArray

_ENTRY = 16  # bytes of a chunk in the index
_CRC = 4  # bytes
_MISSING = 2**64 - 1
_BLOSC_HEADER = struct.Struct("<4B3I")  # version, format, flags, type size; sizes: see below

Bytes = NDArray[np.uint8]
Place = tuple[int, int]  # start and stop in the shard
Read = Callable[[int, int], Bytes]  # (start, stop) -> these bytes of the shard


@dataclass(frozen=True)
class Layout:
    """The inner chunks of one array's shards."""

    rows: int  # in a shard, those beyond the last sample included
    chunk: int  # rows in a chunk; divides `rows`
    shape: tuple[int, ...]  # of a row
    dtype: np.dtype[Any]

    @property
    def chunks(self) -> int:
        return self.rows // self.chunk

    @property
    def index_bytes(self) -> int:
        return _ENTRY * self.chunks + _CRC


def decode_shard(data: bytes, layout: Layout, into: NDArray[Any]) -> None:
    """Decodes the first n rows of a shard into `into`, (n, *shape)."""
    whole = np.frombuffer(data, np.uint8)
    decode_rows(lambda start, stop: whole[start:stop], len(data), layout, 0, into)


def decode_rows(read: Read, size: int, layout: Layout, first: int, into: NDArray[Any]) -> None:
    """Decodes rows first..first + n of a shard of `size` bytes into `into`, (n, *shape).

    Reads the index, and then all chunks with such rows in one piece.
    """
    if into.dtype != layout.dtype or into.shape[1:] != layout.shape:
        raise AssertionError(f"{into.dtype} {into.shape} is not for {layout}")
    stop = first + len(into)
    assert 0 <= first <= stop <= layout.rows, (first, stop, layout.rows)
    if first == stop:
        return
    numbers = range(first // layout.chunk, -(-stop // layout.chunk))
    places = _places(read, size, layout, numbers)
    found = [place for place in places if place is not None]
    begin = min((start for start, _ in found), default=0)
    data = read(begin, max(end for _, end in found)) if found else np.empty(0, np.uint8)
    for number, place in zip(numbers, places, strict=True):
        rows = range(number * layout.chunk, (number + 1) * layout.chunk)
        inside = slice(max(rows.start, first), min(rows.stop, stop))
        target = into[inside.start - first : inside.stop - first]
        if place is None:
            target[...] = 0
            continue
        chunk = data[place[0] - begin : place[1] - begin]
        if len(target) == layout.chunk and target.flags.c_contiguous:
            _decode_chunk(chunk, number, target)
        else:
            whole = np.empty((layout.chunk, *layout.shape), layout.dtype)
            _decode_chunk(chunk, number, whole)
            target[...] = whole[inside.start - rows.start : inside.stop - rows.start]


def _places(read: Read, size: int, layout: Layout, numbers: range) -> list[Place | None]:
    """Where each of the given chunks is; None for one that is not there."""
    before = size - layout.index_bytes
    if before < 0:
        raise ValueError(f"{size:,} bytes are too few for an index of {layout.chunks} chunks")
    index = read(before, size)
    if _crc(index[:-_CRC]) != index[-_CRC:].tobytes():
        raise ValueError("the crc32c of its index does not match")
    places: list[Place | None] = []
    for number in numbers:
        offset, length = struct.unpack_from("<2Q", index.data, _ENTRY * number)
        if (offset, length) == (_MISSING, _MISSING):
            places.append(None)
        elif offset + length > before:
            raise ValueError(f"chunk {number} is said to end at byte {offset + length:,}")
        else:
            places.append((offset, offset + length))
    return places


def _decode_chunk(chunk: Bytes, number: int, target: NDArray[Any]) -> None:
    """Decompresses a chunk into `target`, which is contiguous and has its size."""
    packed = chunk[:-_CRC]
    if len(packed) < _BLOSC_HEADER.size:
        raise ValueError(f"chunk {number} has {len(chunk)} bytes, too few for one")
    if _crc(packed) != chunk[-_CRC:].tobytes():
        raise ValueError(f"the crc32c of chunk {number} does not match")
    # blosc takes both from the header, and would read and write as much.
    *_, unpacked, _, length = _BLOSC_HEADER.unpack_from(packed.data)
    if (unpacked, length) != (target.nbytes, len(packed)):
        raise ValueError(
            f"chunk {number} unpacks {length:,} bytes to {unpacked:,}, where {len(packed):,} are "
            f"there and {target.nbytes:,} are due"
        )
    try:
        blosc.decompress(packed, target)
    except RuntimeError as error:
        raise ValueError(f"chunk {number} does not decompress ({error})") from error


def _crc(data: Bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))
