"""Opening a cache: its head and its metadata, and views that are added."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from shared.errors import InputError
from shared.store.opening import Cache, open_cache
from shared.store.static_files import check_static
from shared.targets.codecs import CODECS
from tests.small_cache import (
    make_block,
    make_cache,
    make_head,
    make_keys,
    make_labels,
    make_manifest,
    open_empty,
    put,
)
from tests.stores import bytes_below, every_format, flip_middle_bit, make_empty, refused, truncate


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
    check_static(cache, labels, keys)
    before = bytes_below(tmp_path)
    for damage in (flip_middle_bit, truncate, Path.unlink):
        path = (tmp_path / "train" / "targets.zarr" / name).resolve()
        damage(path)
        assert str(path) in refused(lambda: check_static(cache, labels, keys))
        open_empty(tmp_path, manifest)
        assert bytes_below(tmp_path) == before


@every_format
def test_another_run_is_never_mixed_in(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store)
    make_cache(tmp_path, manifest)
    before = bytes_below(tmp_path)
    text = refused(lambda: open_empty(tmp_path, replace(manifest, seed=8, views=5)))
    assert f"{tmp_path / 'train'} was made with seed 7 and this run asks for 8" in text
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
    assert "incomplete: block 0 of view 2 is missing" in refused(cache.require_views)
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


def test_an_opened_cache_can_be_pickled(tmp_path: Path) -> None:
    """As loader workers get it where processes are not forked."""
    for store in ("zarr", "webdataset"):
        cache = make_cache(tmp_path / store, make_manifest(store=store))
        again: Cache = pickle.loads(pickle.dumps(cache))
        assert again.manifest == cache.manifest
        assert again.read_view(0, ["pred"])["pred"].tolist() == (
            cache.read_view(0, ["pred"])["pred"].tolist()
        )
