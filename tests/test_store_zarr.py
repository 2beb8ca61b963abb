"""The arrays of a cache: plain zarr reads them, and is told what they hold."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from shared.formats import zarr_format
from shared.records.identity import cache_id
from shared.targets.codecs import CODECS
from tests.small_cache import (
    make_block,
    make_cache,
    make_keys,
    make_labels,
    make_manifest,
    version_1,
)
from tests.stores import all_names, refused


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
    assert group.attrs["cache_id"] == cache_id(manifest)
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
    decoded = manifest.encoding.decode(fields, cache.head())
    channels = stored["channels"].astype(np.float32)
    if codec == "tiny":
        assert (
            "(channels / 255)**2 * s, with s = numpy.repeat(scale, stages, axis=-1)"
            in (words["channels"])
        )
        stages = group["channels"].attrs["stages"]
        channels = (channels / 255) ** 2 * np.repeat(stored["scale"], stages, axis=-1)
    np.testing.assert_allclose(channels, decoded["channels"].numpy(), rtol=1e-5)
    if codec in ("compact", "tiny"):
        assert "head.npy" in group.attrs["logits"]
        table = np.load(tmp_path / "train" / "head.npy")
        logits = channels[:, -5:] @ table[:, :-1].T + table[:, -1]
    else:
        logits = stored["logits"].astype(np.float32)
        if codec == "half":
            assert "minus the largest of their row" in words["logits"]
            assert logits.max(1).tolist() == [0.0] * 10
    np.testing.assert_allclose(logits, decoded["logits"].numpy(), rtol=1e-4, atol=1e-5)


def test_arrays_of_version_1_keep_their_metadata(tmp_path: Path) -> None:
    make_cache(tmp_path, version_1(make_manifest()))
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert dict(group.attrs) == {"cache_id": cache_id(version_1(make_manifest()))}
    assert dict(group["channels"].attrs) == {"stages": [4, 3, 2, 5]}
    assert dict(group["box"].attrs) == {}


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


@pytest.mark.parametrize("block", [1, 2, 1000, 1024, 2048, 8192])
def test_allowed_block_sizes(block: int) -> None:
    zarr_format.check_block_size(block)


@pytest.mark.parametrize("block", [0, -1, 1025, 2047, 1536])
def test_other_block_sizes_are_refused(block: int) -> None:
    text = refused(lambda: zarr_format.check_block_size(block))
    assert "1 to 1024, or a multiple of 1024" in text
    assert f"got {block};" in text
