"""Damage to a block or a receipt is found, by whoever reads it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.records.receipt import receipt_path
from tests.small_cache import make_cache, make_manifest
from tests.stores import DAMAGES, all_names, every_format, refused, truncate


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
        assert str(path) in text or "incomplete: block 2 of view 1 is missing" in text
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
    assert "is the receipt of another block, 1 of view 0" in text
    assert receipt_path(1, 1) in text
