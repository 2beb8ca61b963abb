"""A cache on disk: what was written comes back, anything else is refused in one line."""

import json
import multiprocessing
import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numcodecs
import numcodecs.blosc
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.cache import zarr_format
from shared.cache.block import Arithmetic, Block, Receipt, make_receipt, receipt_path, sha256
from shared.cache.checks import note_arithmetic
from shared.cache.keys import decode_keys, encode_keys, key_digest
from shared.cache.manifest import Manifest
from shared.cache.manifest_schema import FORMAT_VERSION
from shared.cache.opening import FORMATS, open_cache
from shared.errors import InputError
from shared.files.local import LocalFiles
from shared.files.sealed import seal, unseal
from shared.images.listing import Keys
from shared.images.source import open_source
from shared.targets.codecs import CODECS
from tests.helpers import snapshot
from tests.small_cache import (
    ARITHMETIC,
    batch_manifest,
    make_block,
    make_cache,
    make_head,
    make_keys,
    make_labels,
    make_manifest,
    open_empty,
    put,
    version_1,
)

NAMES = ["box", "flip", "pred"]
every_format = pytest.mark.parametrize("store", FORMATS)


def refused(action: Callable[[], object]) -> str:
    """The one line of the InputError."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in snapshot(folder).items() if data is not None}


def all_names(manifest: Manifest) -> list[str]:
    fields = CODECS[manifest.codec].fields(manifest.teacher.classes, manifest.teacher.channels)
    return [*fields, *NAMES]


# ---- sealed JSON

finite = st.floats(allow_nan=False, allow_infinity=False)
leaf = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=5)
inner = leaf | st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=5), leaf, max_size=3)
plain_json = inner | st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=5), plain_json, max_size=4))
def test_sealed_facts_come_back(facts: dict[str, Any]) -> None:
    assert unseal(seal(facts)) == facts


def test_seal_takes_tuples_and_numbers_as_keys() -> None:
    """Whose order as numbers and as text differ."""
    assert unseal(seal({"a": {9: (1, 2), 10: ()}})) == {"a": {"9": [1, 2], "10": []}}


def test_any_flipped_bit_is_found() -> None:
    facts = {"b": [1, 2.5], "a": {"x": "text", "y": None, "z": True}}
    data = seal(facts)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            unseal(bytes(damaged))
    for stop in range(len(data) - 2):  # what ends it is a brace and a newline
        with pytest.raises(ValueError):
            unseal(data[:stop])


@pytest.mark.parametrize("data", [b"[]", b"3", b'"text"', b"null", b"{}", b'{"a": 1}'])
def test_json_without_a_seal_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unseal(data)


# ---- the manifest


def leaves(facts: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in facts.items():
        if isinstance(value, dict) and name != "versions":
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name)


LEAVES = list(leaves(asdict(make_manifest())))
INFORMATIVE = {
    ("format_version",),
    ("views",),
    ("source", "spec"),
    ("teacher", "weights"),
    ("versions",),
}
IDENTITY = [leaf for leaf in LEAVES if leaf not in INFORMATIVE]


def other(value: Any) -> Any:
    """Of the same type, not equal."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value[:-1], other(value[-1]))
        case dict():
            return {**value, "more": "1"}
        case None:
            return "half"
    raise AssertionError(value)


def changed(manifest: Manifest, leaf: tuple[str, ...]) -> Manifest:
    outer = getattr(manifest, leaf[0])
    if len(leaf) == 1:
        return replace(manifest, **{leaf[0]: other(outer)})
    inner = replace(outer, **{leaf[1]: other(getattr(outer, leaf[1]))})
    return replace(manifest, **{leaf[0]: inner})


def value_of(manifest: Manifest, leaf: tuple[str, ...]) -> Any:
    value: Any = manifest
    for name in leaf:
        value = getattr(value, name)
    return value


def test_leaves_are_all_there() -> None:
    assert len(LEAVES) == len(set(LEAVES)) > 20
    assert set(LEAVES) >= INFORMATIVE
    assert ("teacher", "sha256") in IDENTITY and ("source", "digest") in IDENTITY


@every_format
@pytest.mark.parametrize("codec", CODECS)
def test_manifest_round_trip(codec: str, store: str) -> None:
    manifest = make_manifest(codec=codec, store=store)
    again = Manifest.from_json(manifest.to_json(), "here")
    assert again == manifest
    assert again.to_json() == manifest.to_json()
    assert again.cache_id() == manifest.cache_id()
    facts = json.loads(manifest.to_json())
    assert facts["format_version"] == FORMAT_VERSION
    assert facts["cache_id"] == manifest.cache_id()
    assert facts["teacher"]["architecture"] == "resnet18"


@pytest.mark.parametrize("leaf", IDENTITY, ids=".".join)
def test_a_manifest_that_differs_is_named(leaf: tuple[str, ...]) -> None:
    mine = make_manifest()
    theirs = changed(mine, leaf)
    assert theirs.cache_id() != mine.cache_id()
    text = refused(lambda: mine.require_same(theirs, "/the/cache"))
    name = " ".join(leaf)
    there, here = (json.dumps(value_of(manifest, leaf)) for manifest in (theirs, mine))
    short = [value if len(value) <= 80 else value[:77] + "..." for value in (there, here)]
    assert f"/the/cache has {name} {short[0]}, this run asks for {short[1]};" in text


@pytest.mark.parametrize("leaf", sorted(INFORMATIVE), ids=".".join)
def test_where_things_lay_does_not_matter(leaf: tuple[str, ...]) -> None:
    mine = make_manifest()
    theirs = changed(mine, leaf)
    assert theirs != mine
    mine.require_same(theirs, "here")
    assert theirs.cache_id() == mine.cache_id()


def test_the_first_of_two_differences_is_named() -> None:
    mine = make_manifest()
    theirs = replace(mine, seed=99, policy="center")
    assert 'has policy "center"' in refused(lambda: mine.require_same(theirs, "here"))


@pytest.mark.parametrize("leaf", [x for x in LEAVES if x != ("format_version",)], ids=".".join)
def test_an_edited_manifest_is_refused(leaf: tuple[str, ...]) -> None:
    """Also where the fact is informative: a wrong number of views would be used in silence."""
    facts = json.loads(batch_manifest().to_json())  # which names every fact
    inner = facts
    for name in leaf[:-1]:
        inner = inner[name]
    value = inner[leaf[-1]]
    inner[leaf[-1]] = [*value, 1] if isinstance(value, list) else other(value)
    text = refused(lambda: Manifest.from_json(json.dumps(facts).encode(), "/some/manifest.json"))
    assert "/some/manifest.json" in text
    assert "never edited" in text


def test_reformatting_a_manifest_is_no_edit() -> None:
    manifest = make_manifest()
    compact = json.dumps(json.loads(manifest.to_json())).encode()
    assert Manifest.from_json(compact, "here") == manifest


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, str(FORMAT_VERSION), None])
def test_another_format_version_is_refused(version: object) -> None:
    facts = unseal(make_manifest().to_json())
    data = seal({**facts, "format_version": version})
    text = refused(lambda: Manifest.from_json(data, "/some/manifest.json"))
    assert f"format versions 1 to {FORMAT_VERSION}: /some/manifest.json has '{version}'" in text


def test_a_manifest_with_other_facts_is_refused() -> None:
    facts = unseal(make_manifest().to_json())
    less = {name: value for name, value in facts.items() if name != "policy"}
    text = refused(lambda: Manifest.from_json(seal(less), "/some/manifest.json"))
    assert "/some/manifest.json does not (policy is missing)" in text
    text = refused(lambda: Manifest.from_json(seal({**facts, "mood": 1}), "/some/manifest.json"))
    assert "'mood' is not a field" in text


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"3", b'"text"', b"{}", b"{", b"null"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    text = refused(lambda: Manifest.from_json(data, "/some/manifest.json"))
    assert "starts with a manifest in JSON: /some/manifest.json does not hold one" in text


@given(samples=st.integers(1, 10_000), block=st.integers(1, 3000))
def test_blocks_cut_the_samples(samples: int, block: int) -> None:
    manifest = make_manifest(samples, block)
    rows = [manifest.rows(number) for number in range(manifest.blocks)]
    assert list(chain.from_iterable(rows)) == list(range(samples))
    assert all(len(some) == block for some in rows[:-1])
    assert 1 <= len(rows[-1]) <= block


# ---- receipts


def test_receipt_says_what_is_in_the_block() -> None:
    manifest = make_manifest()
    block = replace(make_block(manifest, 1, 2), skipped=((9, "dog/00009.jpg", "zero bytes; ü"),))
    receipt = make_receipt(manifest, block, "5a" * 32, {"b": b"two", "a": b""})
    assert (receipt.view, receipt.block, receipt.start, receipt.stop) == (1, 2, 8, 10)
    assert receipt.files == {"b": (3, sha256(b"two")), "a": (0, sha256(b""))}
    assert receipt.pixels == block.pixels and list(receipt.pixels) == [8]
    fields = [block.fields[name][0].tobytes() for name in ("channels", "logits")]
    assert receipt.targets == {8: sha256(b"".join(fields))}
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_receipt_names_do_not_collide() -> None:
    assert receipt_path(0, 0) == "receipts/v0000-b000000.json"
    names = {receipt_path(view, block) for view in (0, 1, 12, 121) for block in (0, 1, 12, 2112)}
    assert len(names) == 16


# ---- writing and reading


def in_source_order(manifest: Manifest) -> NDArray[np.int64]:
    """The row of each sample where blocks stand one after the other."""
    return manifest.place(np.arange(manifest.samples))


@every_format
@pytest.mark.parametrize(
    ("codec", "samples", "block"),
    [
        *((codec, 10, 4) for codec in CODECS),
        *(("half", *sizes) for sizes in [(5, 1), (3, 7), (8, 4), (1, 1)]),
    ],
)
def test_what_was_written_comes_back(
    tmp_path: Path, codec: str, store: str, samples: int, block: int
) -> None:
    manifest = make_manifest(samples, block, codec=codec, store=store)
    make_cache(tmp_path, manifest)
    cache = open_cache(tmp_path, "train")
    assert cache.manifest == manifest
    names = all_names(manifest)
    for view in range(manifest.views):
        blocks = [make_block(manifest, view, index) for index in range(manifest.blocks)]
        whole = cache.read_view(view, names)
        assert set(whole) == set(names)
        for name in names:
            parts = [b.arrays()[name] for b in blocks]
            expected = np.concatenate(parts)[in_source_order(manifest)]
            assert len(expected) == samples
            assert whole[name].dtype == expected.dtype, name
            assert whole[name].tobytes() == expected.tobytes(), name
            for index, part in enumerate(parts):
                read = cache.read_block(view, index, [name])
                assert list(read) == [name]
                assert read[name].tobytes() == part.tobytes(), name
                assert read[name].shape == part.shape, name
    assert not np.array_equal(
        cache.read_view(0, ["channels"])["channels"], cache.read_view(1, ["channels"])["channels"]
    )


def test_blocks_of_several_chunks_come_back(tmp_path: Path) -> None:
    """2,500 samples in shards of 2 x 1024: a last shard whose second chunk is not there at all."""
    manifest = make_manifest(2500, 2048, views=1)
    cache = make_cache(tmp_path, manifest)
    names = all_names(manifest)
    whole = cache.read_view(0, names)
    for name in names:
        expected = np.concatenate([make_block(manifest, 0, i).arrays()[name] for i in range(2)])
        assert whole[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("codec", CODECS)
def test_plain_zarr_reads_it(tmp_path: Path, codec: str) -> None:
    manifest = make_manifest(10, 4, codec=codec)
    make_cache(tmp_path, manifest)
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    assert group.attrs["cache_id"] == manifest.cache_id()
    widths = {"logits": 3, "channels": 14, "scale": 4, "box": 4}
    names = all_names(manifest)
    assert set(group.array_keys()) == {*names, "label"}
    for name in names:
        array = group[name]
        blocks = [[make_block(manifest, v, i).arrays()[name] for i in range(3)] for v in range(2)]
        expected = np.stack([np.concatenate(parts) for parts in blocks])
        assert array.shape == (2, 10, *([widths[name]] if name in widths else []))
        assert array.dtype == expected.dtype
        assert np.array_equal(array[:], expected), name
        assert array.shards[:2] == (1, 4)
    assert tuple(group["channels"].attrs["stages"]) == (4, 3, 2, 5)
    assert group["label"].dtype == np.int32
    assert group["label"][:].tolist() == make_labels(10).tolist()


def test_documented_dtypes_and_paths(tmp_path: Path) -> None:
    """What others rely on: golden."""
    manifest = make_manifest(10, 4)
    make_cache(tmp_path, manifest)
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert {name: str(group[name].dtype) for name in group.array_keys()} == {
        "logits": "float16",
        "channels": "float16",
        "box": "int32",
        "flip": "bool",
        "pred": "int32",
        "label": "int32",
    }
    paths = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        path for path in paths if "/0/1" in path or "receipts" in path or "zarr" not in path
    } == {
        "train/manifest.json",
        "train/keys.txt",
        "train/targets.zarr/logits/c/0/1/0",
        "train/targets.zarr/channels/c/0/1/0",
        "train/targets.zarr/box/c/0/1/0",
        "train/targets.zarr/flip/c/0/1",
        "train/targets.zarr/pred/c/0/1",
        *(f"train/receipts/v{v:04d}-b{b:06d}.json" for v in range(2) for b in range(3)),
    }


def test_inner_chunks_are_small_and_checked() -> None:
    """Core codecs only, so that any zarr v3 reader can read them, and a crc32c in every chunk."""
    manifest = make_manifest(5000, 4096)
    metadata = zarr_format.metadata(manifest, make_labels(5000), make_keys(5000))
    facts = json.loads(metadata["targets.zarr/channels/zarr.json"])
    assert facts["chunk_grid"]["configuration"]["chunk_shape"] == [1, 4096, 14]
    (sharding,) = facts["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1, 1024, 14]
    names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    assert names == ["bytes", "blosc", "crc32c"]


# ---- equal contents are equal bytes


@every_format
def test_two_caches_are_byte_identical(tmp_path: Path, store: str) -> None:
    """Made apart, and the second one backwards."""
    manifest = make_manifest(store=store, codec="tiny")
    make_cache(tmp_path / "a", manifest)
    backwards = open_empty(tmp_path / "b", manifest)
    for view, index in reversed(list(backwards.units())):
        put(backwards, make_block(manifest, view, index))
    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    assert len(bytes_below(tmp_path / "a")) > 6 * 2


def test_a_large_shard_is_always_the_same_bytes() -> None:
    manifest = make_manifest(2048, 2048, views=1, channels=(64, 128, 256, 512))
    block = make_block(manifest, 0, 0)
    digests = {
        tuple(sha256(data) for data in zarr_format.encode(manifest, block).values())
        for _ in range(4)
    }
    assert len(digests) == 1


def test_blosc_has_no_threads_of_its_own() -> None:
    """In the main thread it would take them, and then order its blocks by who finishes first.

    zarr 3.1 calls it from other threads; nothing promises that the next one does.
    """
    assert threading.current_thread() is threading.main_thread()
    numbers = np.random.Generator(np.random.Philox(0)).normal(size=(1024, 960)).astype(np.float16)
    codec = numcodecs.Blosc(cname="zstd", clevel=1)
    before = numcodecs.blosc.set_nthreads(4)
    try:
        assert len({sha256(codec.encode(numbers)) for _ in range(10)}) == 1
    finally:
        numcodecs.blosc.set_nthreads(before)


def write_all(folder: Path, manifest: Manifest, times: int) -> None:
    """In a process of its own."""
    for _ in range(times):
        make_cache(folder, manifest).files.remove_stale()


def test_two_processes_that_write_the_same_at_once(tmp_path: Path) -> None:
    manifest = make_manifest()
    make_cache(tmp_path / "alone", manifest)
    server = multiprocessing.get_context("forkserver")
    arguments = (tmp_path / "shared", manifest, 4)
    processes = [server.Process(target=write_all, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert bytes_below(tmp_path / "shared") == bytes_below(tmp_path / "alone")
    cache = open_cache(tmp_path / "shared", "train")
    assert all(cache.is_done(*unit) for unit in cache.units())


# ---- keys, and words for readers with plain zarr

name = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        name | st.sampled_from(["a\nb", "a\\nb", "\\", "\n", "\\\\n", "\udcff.jpg"]), max_size=5
    )
)
def test_any_key_comes_back(names: list[str]) -> None:
    keys = Keys.pack(names)
    data = encode_keys(keys)
    assert data.count(b"\n") == len(names)
    again = decode_keys(data)
    assert list(again) == names
    assert again.text == keys.text and again.ends.tolist() == keys.ends.tolist()


@pytest.mark.parametrize("data", [b"a", b"a\nb", b"a\\\n", b"\\x\n"])
def test_what_is_not_a_file_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_keys(data)


def test_keys_are_plain_lines(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest())
    lines = (tmp_path / "train/keys.txt").read_text().splitlines()
    assert lines == [f"class{index % 3}/{index:05d}.jpg" for index in range(10)]
    cache = open_cache(tmp_path, "train")
    keys = cache.keys()
    assert keys is not None and list(keys) == lines
    for lost in (b"", "\n".join(lines[1:]).encode() + b"\n", b"x" * 9 + b"\n" * 10):
        (tmp_path / "train/keys.txt").write_bytes(lost)
        assert "keys.txt is missing or damaged" in refused(cache.keys)


@pytest.mark.parametrize("codec", CODECS)
def test_a_reader_with_plain_zarr_is_told_everything(tmp_path: Path, codec: str) -> None:
    """And what it is told is so: what it decodes by these words is what the codec decodes."""
    manifest = make_manifest(codec=codec)
    cache = make_cache(tmp_path, manifest)
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert "keys.txt" in group.attrs["axes"] and codec in group.attrs["codec"]
    words = {name: array.attrs["meaning"] for name, array in group.arrays()}
    assert all(array.attrs["axes"] for _, array in group.arrays())
    assert "top, left, height, width" in words["box"] and "pixels of the source" in words["box"]
    assert "-1" in words["pred"] and "source.classes" in words["label"]
    assert "spatial means" in words["channels"] and "after their last ReLU" in words["channels"]
    stored = {name: np.asarray(array[:])[1] for name, array in group.arrays() if name != "label"}
    fields = {name: torch.from_numpy(values) for name, values in stored.items()}
    decoded = CODECS[codec].decode(fields, (4, 3, 2, 5), cache.head())
    channels = stored["channels"].astype(np.float32)
    if codec == "tiny":
        assert (
            "(channels / 255)**2 * s, with s = numpy.repeat(scale, stages, axis=-1)"
            in (words["channels"])
        )
        stages = group["channels"].attrs["stages"]
        channels = (channels / 255) ** 2 * np.repeat(stored["scale"], stages, axis=-1)
    np.testing.assert_allclose(channels, torch.cat(decoded.channels, 1).numpy(), rtol=1e-5)
    if codec in ("compact", "tiny"):
        assert "head.npy" in group.attrs["logits"]
        table = np.load(tmp_path / "train" / "head.npy")
        logits = channels[:, -5:] @ table[:, :-1].T + table[:, -1]
    else:
        logits = stored["logits"].astype(np.float32)
        if codec == "half":
            assert "minus the largest of their row" in words["logits"]
            assert logits.max(1).tolist() == [0.0] * 10
    np.testing.assert_allclose(logits, decoded.logits.numpy(), rtol=1e-4, atol=1e-5)


def test_arrays_of_version_1_keep_their_metadata(tmp_path: Path) -> None:
    make_cache(tmp_path, version_1(make_manifest()))
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert dict(group.attrs) == {"cache_id": version_1(make_manifest()).cache_id()}
    assert dict(group["channels"].attrs) == {"stages": [4, 3, 2, 5]}
    assert dict(group["box"].attrs) == {}


# ---- the arithmetic of a block


def test_a_receipt_names_the_arithmetic_and_nothing_else_does(tmp_path: Path) -> None:
    manifest = make_manifest()
    gpu = Arithmetic("NVIDIA H200", "2.15.0", False, True, 256)
    for name, way in (("cpu", ARITHMETIC), ("gpu", gpu)):
        cache = open_empty(tmp_path / name, manifest)
        for unit in cache.units():
            put(cache, replace(make_block(manifest, *unit), arithmetic=way))
    one, other = (bytes_below(tmp_path / name) for name in ("cpu", "gpu"))
    differing = {path for path in one if one[path] != other[path]}
    assert differing == {f"train/{receipt_path(*unit)}" for unit in cache.units()}
    for path in differing:
        facts = [unseal(tree[path]) for tree in (one, other)]
        assert facts[0].pop("arithmetic") == asdict(ARITHMETIC)
        assert facts[1].pop("arithmetic") == asdict(gpu)
        assert facts[0] == facts[1]


def test_blocks_of_several_arithmetics_are_one_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_manifest()
    cache = make_cache(tmp_path, manifest)
    note_arithmetic(open_cache(tmp_path, "train"))
    assert capsys.readouterr().err == ""
    gpu = Arithmetic("NVIDIA H200", "2.15.0", False, True, 256)
    put(cache, replace(make_block(manifest, 1, 2), arithmetic=gpu))
    for some in (cache, open_cache(tmp_path, "train")):  # by who wrote it, and by who reads it
        note_arithmetic(some)
        assert capsys.readouterr().err == (
            f"NOTE: the blocks of {tmp_path}/train were made in 2 ways, so that the last bits of "
            f"their numbers may differ: 5 blocks by cpu, torch 2, no TF32, batches of 4; 1 blocks "
            f"by NVIDIA H200, torch 2.15.0, TF32 in cudnn, batches of 256\n"
        )


# ---- damage


def flip_first_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def flip_middle_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip_first_bit, flip_middle_bit, truncate, append, make_empty, Path.unlink]


@every_format
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_to_any_file_of_a_block_is_found(
    tmp_path: Path, store: str, damage: Callable[[Path], None]
) -> None:
    manifest = make_manifest(store=store, codec="tiny")
    cache = make_cache(tmp_path, manifest)
    names = all_names(manifest)
    view, index = 1, 2
    found = set()
    for path in cache.receipt(view, index).files:
        file = tmp_path / "train" / path
        whole = file.read_bytes()
        damage(file)
        hit = [name for name in names if cache.format.array_paths(manifest, 1, 2)[name] == path]
        found.update(hit)
        for action in (
            lambda: cache.check_block(view, index),
            lambda hit=hit: cache.read_block(view, index, hit),
            lambda hit=hit: cache.read_view(view, hit),
        ):
            assert str(file) in refused(action)
        assert not cache.is_done(view, index)
        # What does not read that file does not care.
        assert cache.is_done(0, index) and cache.is_done(view, 0)
        cache.read_view(0, names)
        file.write_bytes(whole)
        cache.check_block(view, index)
    assert found == set(names)


@every_format
@pytest.mark.parametrize("damage", [*DAMAGES[:3], *DAMAGES[4:]], ids=lambda damage: damage.__name__)
def test_damage_to_a_receipt_is_found(
    tmp_path: Path, store: str, damage: Callable[[Path], None]
) -> None:
    cache = make_cache(tmp_path, make_manifest(store=store))
    path = tmp_path / "train" / receipt_path(1, 2)
    whole = path.read_bytes()
    if damage is truncate:  # the newline at the end is no loss, the brace is
        truncate(path)
        cache.check_block(1, 2)
    damage(path)
    for action in (lambda: cache.check_block(1, 2), lambda: cache.read_view(1, ["pred"])):
        text = refused(action)
        assert str(path) in text or "lacks block 2 of view 1" in text
    assert not cache.is_done(1, 2)
    path.write_bytes(whole)
    cache.check_block(1, 2)


def test_any_flipped_bit_of_a_receipt_is_found(tmp_path: Path) -> None:
    """Also of those facts that no reader of targets looks at."""
    cache = make_cache(tmp_path, make_manifest(4, 4, views=1))
    path = tmp_path / "train" / receipt_path(0, 0)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 41):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert not cache.is_done(0, 0), bit


def test_a_receipt_under_another_name_is_refused(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest())
    receipts = tmp_path / "train"
    shutil.copy(receipts / receipt_path(0, 1), receipts / receipt_path(1, 1))
    text = refused(lambda: cache.check_block(1, 1))
    assert "is for block 1 of view 0" in text
    assert receipt_path(1, 1) in text


def test_an_incomplete_cache_names_what_it_lacks(tmp_path: Path) -> None:
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    for unit in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]:
        put(cache, make_block(manifest, *unit))
    assert [unit for unit in cache.units() if not cache.is_done(*unit)] == [(1, 1)]
    for action in (cache.require_views, lambda: cache.read_view(0, ["pred"])):
        assert "lacks block 1 of view 1; run the same precompute/run.py" in refused(action)
    cache.read_block(1, 2, ["pred"])  # what is there can be read
    put(cache, make_block(manifest, 1, 1))
    cache.require_views()


def test_is_done_asks_for_files_and_receipt(tmp_path: Path) -> None:
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    assert not cache.is_done(0, 0)
    put(cache, make_block(manifest, 0, 0))
    assert cache.is_done(0, 0)
    assert not cache.is_done(1, 0)
    (tmp_path / "train" / receipt_path(0, 0)).unlink()  # the files alone prove nothing
    assert not cache.is_done(0, 0)


def test_a_block_of_other_samples_is_refused(tmp_path: Path) -> None:
    images = tmp_path / "images" / "train" / "cat"
    images.mkdir(parents=True)
    for number in range(10):
        (images / f"{number}.jpg").write_bytes(b"x")
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    source = open_source(str(tmp_path / "images"), "train")
    for unit in cache.units():
        keys = key_digest(source.keys, manifest.samples_of(unit[1]))
        put(cache, make_block(manifest, *unit), keys)
    for unit in cache.units():
        cache.check_block(*unit, source)
    (images / "9.jpg").rename(images / "new.jpg")  # the last sample stays the last
    renamed = open_source(str(tmp_path / "images"), "train")
    cache.check_block(1, 1, renamed)
    text = refused(lambda: cache.check_block(1, 2, renamed))
    assert "block 2 of view 1" in text and receipt_path(1, 2) in text
    assert cache.is_done(1, 2) and not cache.is_done(1, 2, renamed)


def test_a_chunk_of_zeros_is_stored(tmp_path: Path) -> None:
    """Were it left out, a chunk that got lost would read as zeros too.

    zarr's sharding: a shard ends in an index of (offset, bytes) a chunk and a crc32c; 2^64 - 1
    stands for a chunk that is not there.
    """
    manifest = make_manifest(2048, 2048, views=1)
    random = make_block(manifest, 0, 0)
    arrays = {name: np.zeros_like(values) for name, values in random.fields.items()}
    zeros = replace(
        random,
        fields=arrays,
        box=np.zeros_like(random.box),
        flip=np.zeros_like(random.flip),
        pred=np.zeros_like(random.pred),
    )
    encoded = zarr_format.encode(manifest, zeros)
    assert set(encoded) == set(zarr_format.array_paths(manifest, 0, 0).values())
    for path, data in encoded.items():
        index = np.array(struct.unpack("<4Q", data[-36:-4]), dtype=np.uint64).reshape(2, 2)
        assert (index != 2**64 - 1).all(), path
        assert (index[:, 1] > 0).all(), path
    metadata = zarr_format.metadata(manifest, make_labels(2048), make_keys(2048))
    assert "targets.zarr/label/c/0" in metadata


# ---- the head


@every_format
@pytest.mark.parametrize("codec", CODECS)
def test_head_is_kept_where_it_is_needed(tmp_path: Path, codec: str, store: str) -> None:
    cache = make_cache(tmp_path, make_manifest(codec=codec, store=store))
    assert (tmp_path / "train" / "head.npy").exists() == CODECS[codec].derives_logits
    head = cache.head()
    if CODECS[codec].derives_logits:
        assert head is not None
        assert torch.equal(head.weight, make_head().weight)
        assert torch.equal(head.bias, make_head().bias)
    else:
        assert head is None


def test_any_damage_to_the_head_is_found_and_mended(tmp_path: Path) -> None:
    manifest = make_manifest(codec="compact")
    cache = make_cache(tmp_path, manifest)
    path = tmp_path / "train" / "head.npy"
    whole = path.read_bytes()
    head = make_head()
    for bit in range(0, 8 * len(whole), 11):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            read = cache.head()
        except InputError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:  # a space of NumPy's header: the numbers are the same
            assert bit // 8 < 128
            assert read is not None
            assert torch.equal(read.weight, head.weight) and torch.equal(read.bias, head.bias)
    for damage in (truncate, make_empty, Path.unlink):
        path.write_bytes(whole)
        damage(path)
        assert str(path) in refused(cache.head)
        open_empty(tmp_path, manifest)
        assert path.read_bytes() == whole


# ---- opening, and adding views


def test_open_where_there_is_none(tmp_path: Path) -> None:
    text = refused(lambda: open_cache(tmp_path / "none", "val"))
    assert f"{tmp_path / 'none'} does not exist; check the path, or make the cache with" in text
    assert "val/manifest.json" in text
    assert not (tmp_path / "none").exists()


@every_format
def test_opening_again_changes_nothing(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store, codec="compact")
    make_cache(tmp_path, manifest)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    again = open_empty(tmp_path, replace(manifest, versions={"python": "4"}))
    assert again.manifest == manifest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


METADATA = ["zarr.json", "label/zarr.json", "label/c/0", "box/zarr.json", "../keys.txt"]


@pytest.mark.parametrize("name", METADATA)
def test_damaged_metadata_is_found_and_mended_by_opening(tmp_path: Path, name: str) -> None:
    manifest = make_manifest()
    cache = make_cache(tmp_path, manifest)
    labels, keys = make_labels(), make_keys()
    cache.check_static(labels, keys)
    before = bytes_below(tmp_path)
    for damage in (flip_middle_bit, truncate, Path.unlink):
        path = (tmp_path / "train" / "targets.zarr" / name).resolve()
        damage(path)
        assert str(path) in refused(lambda: cache.check_static(labels, keys))
        open_empty(tmp_path, manifest)
        assert bytes_below(tmp_path) == before


@every_format
def test_another_run_is_never_mixed_in(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store)
    make_cache(tmp_path, manifest)
    before = bytes_below(tmp_path)
    text = refused(lambda: open_empty(tmp_path, replace(manifest, seed=8, views=5)))
    assert f"{tmp_path / 'train'} has seed 7, this run asks for 8" in text
    assert bytes_below(tmp_path) == before


def test_splits_do_not_touch(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest())
    before = bytes_below(tmp_path / "train")
    make_cache(tmp_path, make_manifest(split="val", seed=8))
    assert bytes_below(tmp_path / "train") == before
    assert open_cache(tmp_path, "val").manifest.seed == 8


@every_format
def test_adding_views_keeps_what_is_there(tmp_path: Path, store: str) -> None:
    two = make_manifest(views=2, store=store)
    make_cache(tmp_path / "grown", two)
    before = bytes_below(tmp_path / "grown")
    four = make_manifest(views=4, store=store)
    cache = open_empty(tmp_path / "grown", four)
    assert cache.manifest == four
    assert open_cache(tmp_path / "grown", "train").manifest == four
    todo = [unit for unit in cache.units() if not cache.is_done(*unit)]
    assert todo == [(view, block) for view in (2, 3) for block in range(3)]
    assert "lacks block 0 of view 2" in refused(cache.require_views)
    after = bytes_below(tmp_path / "grown")
    kept = [path for path in before if not path.endswith(("zarr.json", "manifest.json"))]
    assert len(kept) >= 2 * 3 * 2
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    for unit in todo:
        put(cache, make_block(four, *unit))
    # The same as if all had been made at once.
    make_cache(tmp_path / "at once", four)
    assert bytes_below(tmp_path / "grown") == bytes_below(tmp_path / "at once")


def test_added_views_are_seen_by_plain_zarr(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest(views=1))
    path = tmp_path / "train" / "targets.zarr"
    assert zarr.open_group(path, mode="r")["pred"].shape == (1, 10)
    make_cache(tmp_path, make_manifest(views=3))
    group = zarr.open_group(path, mode="r")
    assert group["pred"].shape == (3, 10)
    manifest = make_manifest(views=3)
    expected = np.concatenate([make_block(manifest, 2, i).pred for i in range(3)])
    assert np.array_equal(group["pred"][2], expected)


def test_asking_for_fewer_views_keeps_all(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest(views=3))
    before = bytes_below(tmp_path)
    cache = open_empty(tmp_path, make_manifest(views=1))
    assert cache.manifest.views == 3
    assert bytes_below(tmp_path) == before


def with_skipped(manifest: Manifest, view: int, index: int, row: int) -> Block:
    """As precompute writes a block with an image that does not decode."""
    block = make_block(manifest, view, index)
    for values in (*block.fields.values(), block.box, block.flip):
        values[row] = 0
    block.pred[row] = -1
    sample = int(manifest.samples_of(index)[row])
    return replace(block, skipped=((sample, f"dog/{sample:05d}.jpg", "zero bytes"),))


@every_format
def test_skipped_images_and_sizes(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store, views=1)
    cache = make_cache(tmp_path, manifest)
    assert cache.skipped() == []
    assert cache.samples_of_blocks().tolist() == [4, 4, 2]
    assert cache.labels().tolist() == make_labels().tolist()
    block = with_skipped(manifest, 0, 1, row=2)
    put(cache, block)
    sample = int(manifest.samples_of(1)[2])
    assert cache.skipped() == [(sample, f"dog/{sample:05d}.jpg", "zero bytes")]
    assert cache.samples_of_blocks().tolist() == [4, 3, 2]
    labels = make_labels().tolist()
    labels[sample] = labels[sample] if store == "zarr" else -1
    assert cache.labels().tolist() == labels
    for name, values in cache.read_block(0, 1, all_names(manifest)).items():
        assert values.tobytes() == block.arrays()[name].tobytes(), name
    paths = {path for b in range(3) for path in cache.receipt(0, b).files}
    sizes = [(tmp_path / "train" / path).stat().st_size for path in paths]
    assert cache.num_bytes() == sum(sizes)


@pytest.mark.parametrize("block", [1, 2, 1000, 1024, 2048, 8192])
def test_allowed_block_sizes(block: int) -> None:
    zarr_format.check_block_size(block)


@pytest.mark.parametrize("block", [0, -1, 1025, 2047, 1536])
def test_other_block_sizes_are_refused(block: int) -> None:
    text = refused(lambda: zarr_format.check_block_size(block))
    assert "1 to 1024, or a multiple of 1024" in text
    assert f"got {block};" in text


# ---- files


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".tmp" in str(path.relative_to(root))]


def test_write_replaces_and_leaves_no_trace(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "new" / "root")
    files.write("a/b/c", b"one")
    files.write("a/b/c", b"two")
    assert files.read("a/b/c") == b"two"
    assert files.exists("a/b/c") and not files.exists("a/b") and not files.exists("x")
    assert files.names("a/b") == ["c"] and files.names("x") == [] and files.names("a/b/c") == []
    assert temporaries(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        files.read("x")


def test_write_new_keeps_the_first(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert files.write_new("a", b"first") is True
    assert files.write_new("a", b"second") is False
    assert files.read("a") == b"first"
    assert temporaries(tmp_path) == []


def test_write_new_of_many_at_once_has_one_winner(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    wins: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if files.write_new("a", b"%d" % number * 1000):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert files.read("a") == b"%d" % wins[0] * 1000


def test_a_write_is_on_disk_before_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of the folder: in this order."""
    done: list[str] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> None:
            folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            done.append("fsync of the folder" if folder else name)
            real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "link"):
        record(name)
    files = LocalFiles(tmp_path)
    files.write("a", b"x")
    assert done == ["fsync", "replace", "fsync of the folder"]
    done.clear()
    assert files.write_new("b", b"x")
    assert done == ["fsync", "link", "fsync of the folder"]


@pytest.mark.parametrize("write", [LocalFiles.write, LocalFiles.write_new])
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., object]
) -> None:
    files = LocalFiles(tmp_path)
    files.write("old", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("old", "new"):
        text = refused(lambda name=name: write(files, name, b"x"))
        assert f"{tmp_path / name}: No space left on device" in text
    assert files.read("old") == b"old"
    assert not files.exists("new")
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("write", [LocalFiles.write, LocalFiles.write_new])
def test_a_file_in_place_of_the_root_is_one_line(
    tmp_path: Path, write: Callable[..., object]
) -> None:
    """For a folder that cannot be written to: root may write to every one."""
    (tmp_path / "file").write_bytes(b"precious")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        text = refused(lambda root=root: write(LocalFiles(root), "a", b"x"))
        assert f"an output folder must be writable: {root / 'a'}: " in text
    text = refused(lambda: open_empty(tmp_path / "file", make_manifest()))
    assert "must be writable" in text
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("a/b", b"x")
    assert f"{tmp_path / 'a'}: Is a directory" in refused(lambda: files.write("a", b"x"))
    assert f"{tmp_path / 'a/b/c'}: " in refused(lambda: files.write("a/b/c", b"x"))
    assert files.read("a/b") == b"x"
    assert temporaries(tmp_path) == []


def test_cleaning_up_disturbs_no_writer(tmp_path: Path) -> None:
    """One process ends, and cleans up, while others write."""
    files = LocalFiles(tmp_path)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(60):
                files.write(f"{number}/{round_ % 3}", b"x")
                files.remove_stale()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(bytes_below(tmp_path)) == 4 * 3


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    contents = {bytes([65 + n]) * 300_000 for n in range(3)}
    files.write("a", b"A" * 300_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                files.write("a", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {files.read("a") for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert seen <= contents
