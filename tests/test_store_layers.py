"""Kinds that are added to a cache: files and receipts of their own, and nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from shared.records.identity import cache_id, require_same
from shared.records.manifest import Manifest
from shared.records.receipt import receipt_path
from shared.store.checks import require_targets
from shared.store.opening import open_cache
from shared.targets.codecs import CODECS
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put
from tests.stores import DAMAGES, bytes_below, every_format, refused

ADDED: dict[str, tuple[int, ...]] = {"attention1": (4,), "map2": (3, 2, 2)}


def with_layers(**facts: object) -> Manifest:
    return make_manifest(added=ADDED, **facts)  # type: ignore[arg-type]


def add_layers(folder: Path, manifest: Manifest) -> None:
    cache = open_empty(folder, manifest)
    for unit in cache.units():
        for layer in cache.missing_layers(*unit):
            put(cache, make_block(manifest, *unit, layer))


@every_format
@pytest.mark.parametrize("codec", CODECS)
def test_what_was_written_comes_back(tmp_path: Path, codec: str, store: str) -> None:
    manifest = with_layers(codec=codec, store=store)
    make_cache(tmp_path, manifest)
    cache = open_cache(tmp_path, "train")
    assert cache.manifest == manifest
    assert manifest.layers == ("", "attention1", "map2") and cache.is_complete()
    for layer in manifest.layers:
        names = list(manifest.encoding.fields(manifest.kinds_of(layer)))
        assert names and all(manifest.layer_of(name) == layer for name in names)
        for view in range(2):
            blocks = [make_block(manifest, view, i, layer) for i in range(3)]
            whole = cache.read_view(view, names)
            for name in names:
                expected = np.concatenate([block.fields[name] for block in blocks])
                expected = expected[manifest.place(np.arange(10))]
                assert whole[name].dtype == expected.dtype and whole[name].shape == expected.shape
                assert whole[name].tobytes() == expected.tobytes(), name
    names = list(manifest.encoding.fields())
    fields = {n: torch.from_numpy(v) for n, v in cache.read_block(1, 2, [*names, "pred"]).items()}
    decoded = manifest.encoding.decode(fields, cache.head())
    assert {*ADDED, "logits", "channels"} <= decoded.keys()
    assert decoded["map2"].shape == (2, 3, 2, 2)


@every_format
@pytest.mark.parametrize("codec", ["half", "tiny"])
def test_adding_kinds_keeps_what_is_there(tmp_path: Path, store: str, codec: str) -> None:
    """And it is the cache that would have been made at once."""
    bare, full = make_manifest(store=store, codec=codec), with_layers(store=store, codec=codec)
    assert cache_id(bare) == cache_id(full)
    make_cache(tmp_path / "grown", bare)
    before = bytes_below(tmp_path / "grown")
    add_layers(tmp_path / "grown", replace(bare, added={"map2": ADDED["map2"]}))
    add_layers(tmp_path / "grown", replace(bare, added={"attention1": ADDED["attention1"]}))
    after = bytes_below(tmp_path / "grown")
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {"train/manifest.json"}
    make_cache(tmp_path / "at once", full)
    assert after == bytes_below(tmp_path / "at once")
    assert open_cache(tmp_path / "grown", "train").manifest == full
    # Asking for what was there first loses nothing.
    open_empty(tmp_path / "grown", bare)
    assert bytes_below(tmp_path / "grown") == after


@every_format
def test_adding_views_to_a_cache_with_layers(tmp_path: Path, store: str) -> None:
    make_cache(tmp_path / "grown", with_layers(store=store, views=1))
    add_layers(tmp_path / "grown", with_layers(store=store, views=2))
    make_cache(tmp_path / "at once", with_layers(store=store, views=2))
    assert bytes_below(tmp_path / "grown") == bytes_below(tmp_path / "at once")


@pytest.mark.parametrize("targets", [("logits",), ("channels",), ()])
@every_format
def test_other_kinds_in_the_blocks(tmp_path: Path, store: str, targets: tuple[str, ...]) -> None:
    manifest = make_manifest(store=store, targets=targets, added={"map2": ADDED["map2"]})
    assert cache_id(manifest) != cache_id(make_manifest(store=store))
    cache = make_cache(tmp_path, manifest)
    fields = {"channels": targets == ("channels",), "logits": targets == ("logits",), "map2": True}
    assert set(manifest.encoding.fields()) == {name for name, kept in fields.items() if kept}
    read = cache.read_view(1, [*manifest.encoding.fields(), "box", "pred"])
    order = manifest.place(np.arange(10))
    expected = np.concatenate([make_block(manifest, 1, i, "map2").fields["map2"] for i in range(3)])
    assert np.array_equal(read["map2"], expected[order])
    assert all(
        cache.is_done(*unit, layer=layer) for unit in cache.units() for layer in ("map2", "")
    )
    text = refused(lambda: require_targets(cache, frozenset({"attention1"}), "the recipe x"))
    assert f"the recipe x needs attention1, which {tmp_path}/train does not keep: add it" in text
    with pytest.raises(Exception, match="targets"):
        require_same(make_manifest(store=store), manifest, "here")


def test_plain_zarr_reads_layers(tmp_path: Path) -> None:
    manifest = with_layers(codec="tiny")
    make_cache(tmp_path, manifest)
    group = zarr.open_group(tmp_path / "train" / "targets.zarr", mode="r")
    assert {"attention1", "attention1_scale", "map2", "map2_scale"} <= set(group.array_keys())
    assert group["map2"].shape == (2, 10, 3, 2, 2) and group["map2_scale"].shape == (2, 10, 1)
    expected = np.concatenate([make_block(manifest, 1, i, "map2").fields["map2"] for i in range(3)])
    assert np.array_equal(group["map2"][1], expected)
    words = group["map2"].attrs["meaning"]
    assert "output of stage 2 after its last ReLU" in words and "(map2 / 255)**2" in words


@every_format
def test_a_missing_layer_is_named(tmp_path: Path, store: str) -> None:
    manifest = with_layers(store=store)
    cache = make_cache(tmp_path, manifest)
    (tmp_path / "train" / receipt_path(1, 1, "map2")).unlink()
    assert cache.missing_layers(1, 1) == ("map2",) and cache.missing_layers(1, 0) == ()
    assert cache.is_done(1, 1) and not cache.is_complete()
    needs = frozenset({"map2"})
    for action in (
        lambda: cache.require_views(manifest.layers),
        lambda: cache.read_view(1, ["map2"]),
        lambda: require_targets(cache, needs, "a recipe"),
    ):
        text = refused(action)
        assert "is incomplete: block 1 of view 1 of map2 is missing; run the same" in text
    # Who does not need it does not care.
    require_targets(cache, frozenset({"logits", "channels", "attention1"}), "a recipe")
    cache.require_views()
    cache.read_view(1, ["channels", "attention1", "pred"])


@every_format
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_to_any_file_of_a_layer_is_found(
    tmp_path: Path, store: str, damage: Callable[[Path], None]
) -> None:
    cache = make_cache(tmp_path, with_layers(store=store, codec="tiny"))
    names = list(cache.manifest.encoding.fields(["map2"]))
    files = cache.receipt(1, 2, "map2").files
    assert len(files) == (2 if store == "zarr" else 1)
    for path in files:
        file = tmp_path / "train" / path
        whole = file.read_bytes()
        damage(file)
        hit = [
            n for n in names if cache.format.array_paths(cache.manifest, 1, 2, "map2")[n] == path
        ]
        for action in (
            lambda: cache.check_block(1, 2, layer="map2"),
            lambda hit=hit: cache.read_block(1, 2, hit),
            lambda hit=hit: cache.read_view(1, hit),
        ):
            assert str(file) in refused(action)
        assert cache.missing_layers(1, 2) == ("map2",) and cache.missing_layers(0, 2) == ()
        file.write_bytes(whole)
        cache.check_block(1, 2, layer="map2")


@every_format
def test_a_layer_that_leaves_out_other_images_is_refused(tmp_path: Path, store: str) -> None:
    manifest = with_layers(store=store)
    cache = make_cache(tmp_path, manifest)
    block = make_block(manifest, 1, 1, "map2")
    sample = int(manifest.samples_of(1)[2])
    block.fields["map2"][2] = 0
    put(cache, replace(block, skipped=((sample, "cat/1.jpg", "zero bytes"),)))
    for action in (
        lambda: cache.check_block(1, 1, layer="map2"),
        lambda: cache.read_view(1, ["map2"]),
    ):
        text = refused(action)
        assert "block 1 in" in text and "'cat/1.jpg'" in text and "(zero bytes)" in text
    cache.check_block(1, 1)
    put(cache, make_block(manifest, 1, 1, "map2"))
    cache.check_block(1, 1, layer="map2")


@every_format
def test_a_receipt_of_another_layer_is_refused(tmp_path: Path, store: str) -> None:
    cache = make_cache(tmp_path, with_layers(store=store))
    root = tmp_path / "train"
    data = (root / receipt_path(1, 1, "attention1")).read_bytes()
    for layer in ("map2", ""):
        (root / receipt_path(1, 1, layer)).write_bytes(data)
        assert receipt_path(1, 1, layer) in refused(
            lambda at=layer: cache.check_block(1, 1, None, at)
        )
