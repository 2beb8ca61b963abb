"""Caches of version 1 of the format keep their names, bytes and order; a line warns of shards."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.files.sealed import unseal
from shared.loaders.shard_loader import ShardLoader
from shared.records.block import sha256
from shared.records.identity import cache_id
from shared.records.manifest_json import manifest_json, parse_manifest
from shared.store import opening as cache_module
from shared.store.opening import Cache, open_cache
from shared.store.static_files import check_static, stored_labels
from shared.store.stored_views import stored_views
from tests.helpers import snapshot
from tests.small_cache import (
    batch_manifest,
    make_block,
    make_cache,
    make_keys,
    make_labels,
    make_manifest,
    open_empty,
    put,
    version_1,
)


def test_manifests_of_version_1_have_the_name_and_bytes_that_they_had() -> None:
    """Runs refer to a cache by its name. Golden: made by the code before version 2."""
    for store, codec, name, digest in (
        ("zarr", "half", "3ce5102ba608", "b16f90ac00dd41f0"),
        ("zarr", "tiny", "1a75fae92407", "c1ea0c2681ae0ec4"),
        ("webdataset", "half", "8d803f2a0842", "aa0dca5daf518407"),
    ):
        manifest = version_1(make_manifest(store=store, codec=codec))
        assert cache_id(manifest) == name
        assert sha256(manifest_json(manifest))[:16] == digest
        assert parse_manifest(manifest_json(manifest), "here") == manifest
    zarr, shards = make_manifest(), make_manifest(store="webdataset")
    assert cache_id(zarr) == cache_id(version_1(zarr)), "the rows are the same"
    assert cache_id(shards) != cache_id(version_1(shards)), "the blocks are others"


def test_manifests_that_do_not_name_the_statistics_have_the_name_and_bytes_that_they_had() -> None:
    """Golden: made by the code before a teacher could use the statistics of batches."""
    for changes, name, digest in (
        ({}, "3ce5102ba608", "b7103a41314255e8"),
        ({"codec": "tiny"}, "1a75fae92407", "34039c449c08d704"),
        ({"store": "webdataset"}, "225c9ab3a7ed", "5e5f30d35bfdeb37"),
        ({"codec": "tiny", "converted_from": "half"}, "2784f2be2e12", "f5005e85712b2187"),
    ):
        manifest = make_manifest(**changes)
        assert manifest.statistics == "eval" and cache_id(manifest) == name
        assert b"statistics" not in manifest_json(manifest) and b"teacher_b" not in manifest_json(
            manifest
        )
        assert sha256(manifest_json(manifest))[:16] == digest
        assert parse_manifest(manifest_json(manifest), "here") == manifest
    batch = batch_manifest()
    assert parse_manifest(manifest_json(batch), "here") == batch
    names = {cache_id(batch), cache_id(batch_manifest(teacher_batch=8))}
    assert len(names | {cache_id(make_manifest(store="webdataset", block=8))}) == 3


@pytest.fixture
def old(tmp_path: Path) -> Cache:
    """View shards as version 1 wrote them."""
    make_cache(tmp_path / "old", version_1(make_manifest(store="webdataset")))
    return open_cache(tmp_path / "old", "train")


def test_shards_of_version_1_are_read_in_their_own_order(old: Cache) -> None:
    manifest = old.manifest
    assert (manifest.format_version, manifest.order) == (1, "source")
    assert stored_labels(old).tolist() == make_labels().tolist()
    blocks = [make_block(manifest, 1, block) for block in range(manifest.blocks)]
    pred = np.concatenate([block.pred for block in blocks])
    assert old.read_view(1, ["pred"])["pred"].tolist() == pred.tolist()
    batches = list(ShardLoader(old, ["logits"], 3, 0, 0, False).batches(1))
    index, stored = (torch.cat([getattr(b, name) for b in batches]) for name in ("index", "pred"))
    assert dict(zip(index.tolist(), stored.tolist(), strict=True)) == dict(enumerate(pred.tolist()))
    for unit in old.units():
        old.check_block(*unit)
    check_static(old, make_labels(), make_keys())
    assert stored_views(old, 0, None, [5])[5].shape == (3, 8, 8)
    with tarfile.open(old.files.root / "shards/v0000-b000001.tar") as tar:
        assert [member.name for member in tar][:3] == [
            *("000000004.cls", "000000004.jpg", "000000004.targets")
        ]


def test_shards_of_version_1_grow_as_what_they_are(old: Cache, tmp_path: Path) -> None:
    wanted = make_manifest(store="webdataset", views=3)  # of version 2, as every run has it
    cache = open_empty(tmp_path / "old", wanted)
    assert (cache.manifest.format_version, cache.manifest.order) == (1, "source")
    assert [unit for unit in cache.units() if not cache.is_done(*unit)] == [
        (2, b) for b in range(3)
    ]
    for block in range(3):
        put(cache, make_block(cache.manifest, 2, block))
    make_cache(tmp_path / "at once", version_1(wanted))
    assert snapshot(tmp_path / "old") == snapshot(tmp_path / "at once")
    assert "arithmetic" not in unseal(cache.files.read("receipts/v0002-b000000.json"))


def test_arrays_of_version_1_grow_as_what_they_are(tmp_path: Path) -> None:
    make_cache(tmp_path / "old", version_1(make_manifest()))
    cache = make_cache(tmp_path / "old", make_manifest(views=3))
    assert cache.manifest == version_1(make_manifest(views=3))
    make_cache(tmp_path / "at once", version_1(make_manifest(views=3)))
    assert snapshot(tmp_path / "old") == snapshot(tmp_path / "at once")
    assert not (tmp_path / "old/train/keys.txt").exists()


def test_one_line_warns_of_shards_of_version_1(
    old: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> list[str]:
        return [line for line in capsys.readouterr().err.splitlines() if "version 1" in line]

    monkeypatch.setattr(cache_module, "_noted", set())
    said()
    open_cache(tmp_path / "old", "train")
    open_cache(tmp_path / "old", "train")
    (line,) = said()
    assert line.startswith(
        f"NOTE: {tmp_path}/old/train was made by version 1, whose shards follow "
    )
    assert "if that is sorted by class, batches are biased; make it again with" in line
    # Neither what has another order, nor what is never trained on, nor a second process of a run.
    make_cache(tmp_path / "new", make_manifest(store="webdataset"))
    make_cache(tmp_path / "zarr", version_1(make_manifest()))
    make_cache(tmp_path / "val", version_1(make_manifest(store="webdataset", split="val")))
    for name, split in (("new", "train"), ("zarr", "train"), ("val", "val")):
        open_cache(tmp_path / name, split)
    monkeypatch.setattr(cache_module, "_noted", set())
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    open_cache(tmp_path / "old", "train")
    assert said() == []


def test_a_key_takes_no_more_room_than_a_label(tmp_path: Path) -> None:
    """A tar rounds members up to 512 bytes."""
    new = make_manifest(store="webdataset")
    sizes = [
        sum(path.stat().st_size for path in (folder / "train/shards").glob("*.tar"))
        for folder in (
            tmp_path / "new",
            tmp_path / "old",
        )
        if make_cache(folder, new if folder.name == "new" else version_1(new))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
