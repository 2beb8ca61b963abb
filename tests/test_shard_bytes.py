"""Shards are decoded as zarr decodes them, and bytes that are none end in ValueError."""

import json
import struct
from collections.abc import Callable
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.storage import MemoryStore

from shared.formats import zarr_format
from shared.formats.shard_bytes import Layout, decode_rows, decode_shard
from shared.formats.zarr_arrays import create_arrays
from tests.small_cache import make_keys, make_labels, make_manifest

LAYOUT = Layout(8, 2, (3,), np.dtype("float16"))  # of the shard that the tests below damage
INDEX = 4 * 16 + 4  # bytes


def numbers(layout: Layout, rows: int) -> NDArray[Any]:
    values = np.random.default_rng(rows).standard_normal((rows, *layout.shape)) * 50
    return np.maximum(values, 0).astype(layout.dtype)


def written_by_zarr(layout: Layout, values: NDArray[Any]) -> bytes:
    """The one shard of an array, with the codecs of zarr_arrays.py."""
    store: dict[str, Any] = {}
    size = layout.dtype.itemsize
    shuffle = BloscShuffle.shuffle if size > 1 else BloscShuffle.noshuffle
    array = zarr.create_array(
        MemoryStore(store),
        shape=values.shape,
        dtype=layout.dtype,
        chunks=(layout.chunk, *layout.shape),
        shards=(layout.rows, *layout.shape),
        compressors=[
            BloscCodec(typesize=size, cname="zstd", clevel=1, shuffle=shuffle),
            Crc32cCodec(),
        ],
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[:] = values
    (shard,) = (data for path, data in store.items() if not path.endswith("zarr.json"))
    return bytes(shard.to_bytes())


def decoded(data: bytes, layout: Layout, rows: int) -> NDArray[Any]:
    into = np.full((rows, *layout.shape), 7).astype(layout.dtype)
    decode_shard(data, layout, into)
    return into


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    chunk=st.integers(1, 5),
    chunks=st.integers(1, 4),
    shape=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "float16", "uint8", "int8", "int32", "bool"]),
    data=st.data(),
)
def test_a_shard_of_zarr_comes_back(
    chunk: int, chunks: int, shape: tuple[int, ...], dtype: str, data: st.DataObject
) -> None:
    layout = Layout(chunk * chunks, chunk, shape, np.dtype(dtype))
    rows = data.draw(st.integers(1, layout.rows))
    values = numbers(layout, rows)
    shard = written_by_zarr(layout, values)
    assert decoded(shard, layout, rows).tobytes() == values.tobytes()

    first = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(first, rows))
    reads: list[tuple[int, int]] = []

    def read(start: int, end: int) -> NDArray[np.uint8]:
        reads.append((start, end))
        return np.frombuffer(shard[start:end], np.uint8)

    into = np.empty((stop - first, *shape), dtype)
    decode_rows(read, len(shard), layout, first, into)
    assert into.tobytes() == values[first:stop].tobytes()
    assert len(reads) == (2 if stop > first else 0), "the index, and the chunks in one piece"


@pytest.mark.parametrize("codec", ["exact", "half", "compact", "tiny"])
def test_the_metadata_describe_what_is_decoded(codec: str) -> None:
    """If another release of zarr wrote other codecs, blocks would be unreadable: golden."""
    manifest = make_manifest(5000, 4096, codec=codec, added={"map2": (3, 2, 2)})
    metadata = zarr_format.metadata(manifest, make_labels(5000), make_keys(5000))
    for name in create_arrays(manifest, {}):
        facts = json.loads(metadata[f"targets.zarr/{name}/zarr.json"])
        (sharding,) = facts["codecs"]
        inner = sharding["configuration"]["codecs"]
        size = np.dtype(facts["data_type"]).itemsize
        order = {"name": "bytes"} if size == 1 else {**BYTES}
        assert inner[0] == order and inner[2] == {"name": "crc32c"}
        facts_of_blosc = inner[1]["configuration"]
        assert inner[1]["name"] == "blosc" and facts_of_blosc["cname"] == "zstd"
        assert facts_of_blosc["typesize"] == size
        assert sharding["configuration"]["index_codecs"] == [BYTES, {"name": "crc32c"}]
        assert sharding["configuration"]["index_location"] == "end"
        assert facts["fill_value"] == 0


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


def sealed(data: bytes) -> bytes:
    """Its crc32c behind it."""
    return data + struct.pack("<I", google_crc32c.value(data))


def shard_of(chunks: list[bytes], index: Callable[[bytes], bytes] = lambda same: same) -> bytes:
    places, at = b"", 0
    for chunk in chunks:
        places += struct.pack("<2Q", at, len(chunk)) if chunk else b"\xff" * 16
        at += len(chunk)
    return b"".join(chunks) + sealed(index(places))


def packed(values: NDArray[Any]) -> bytes:
    return bytes(blosc.compress(values.tobytes(), b"zstd", 1, blosc.SHUFFLE))


VALUES = numbers(LAYOUT, LAYOUT.rows)
CHUNK = packed(VALUES[:2])
OTHERS = [sealed(packed(VALUES[at : at + 2])) for at in range(2, 8, 2)]


def test_a_chunk_that_is_missing_reads_as_zeros() -> None:
    """As in zarr. Blocks are written with all their chunks."""
    found = decoded(shard_of([b"", *OTHERS]), LAYOUT, 8)
    assert not found[:2].any() and found[2:].tobytes() == VALUES[2:].tobytes()
    assert not decoded(shard_of([b""] * 4), LAYOUT, 7).any()


def header(place: int, value: int) -> bytes:
    """The first chunk with another number in blosc's header."""
    return CHUNK[:place] + struct.pack("<I", value) + CHUNK[place + 4 :]


def entry(offset: int, length: int) -> Callable[[bytes], bytes]:
    return lambda index: struct.pack("<2Q", offset, length) + index[16:]


FORGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "too few for an index of 4"),
    "less than an index": (bytes(INDEX - 1), "too few for an index of 4"),
    "no checksum": (bytes(INDEX), "crc32c of its index"),
    "beyond": (shard_of([sealed(CHUNK), *OTHERS], entry(0, 10**6)), "is said to end at byte 1,000"),
    "beyond 64 bits": (shard_of([sealed(CHUNK), *OTHERS], entry(2**64 - 2, 9)), "is said to end"),
    "in the index": (shard_of([b"", *OTHERS], entry(len(b"".join(OTHERS)), 20)), "is said to end"),
    "short chunk": (shard_of([sealed(CHUNK[:15]), *OTHERS]), "has 19 bytes, too few"),
    "empty chunk": (shard_of([sealed(CHUNK), *OTHERS], entry(0, 0)), "has 0 bytes, too few"),
    "other bytes": (shard_of([CHUNK + b"1234", *OTHERS]), "crc32c of chunk 0"),
    "longer in the header": (shard_of([sealed(header(4, 13)), *OTHERS]), "to 13, where"),
    "4 GB in the header": (shard_of([sealed(header(4, 2**32 - 1)), *OTHERS]), "to 4,294,967,295"),
    "fewer rows": (shard_of([sealed(packed(VALUES[:1])), *OTHERS]), "to 6, where"),
    "packed 4 GB": (shard_of([sealed(header(12, 2**32 - 1)), *OTHERS]), "unpacks 4,294,967,295"),
    "cut": (shard_of([sealed(CHUNK[:-1]), *OTHERS]), f"unpacks {len(CHUNK)} bytes to 12, where"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_bytes_that_are_no_shard(kind: str) -> None:
    data, text = FORGED[kind]
    with pytest.raises(ValueError, match=text):
        decoded(data, LAYOUT, 8)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_forged_chunks_do_no_harm(edits: list[tuple[int, int]]) -> None:
    """With right checksums and lengths, blosc is asked. It says no, or gives other numbers."""
    layout = Layout(64, 64, (40,), np.dtype("float32"))
    chunk = bytearray(packed(numbers(layout, 64)))
    for at, value in edits:
        if (place := at % len(chunk)) not in (4, 5, 6, 7, 12, 13, 14, 15):
            chunk[place] = value
    room = np.full((66, 40), 3, np.float32)
    try:
        decode_shard(shard_of([sealed(bytes(chunk))]), layout, room[1:65])
    except ValueError as error:
        assert "does not decompress" in str(error)
    assert (room[0] == 3).all() and (room[65] == 3).all()
