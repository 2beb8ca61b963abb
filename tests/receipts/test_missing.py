"""What a run finds to make: without --check by receipts and sizes, with it by hashes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import pytest

from precompute.missing import missing
from shared.images.listing import Keys
from shared.images.source import ImageSource
from shared.records.block import Work
from shared.records.receipt import receipt_path
from shared.store.opening import open_cache
from tests.receipts.kept import read_paths
from tests.small_cache import make_block, make_cache, make_keys, make_manifest, open_empty, put
from tests.stores import append, every_format, flip_middle_bit, make_empty, truncate

ADDED = {"attention2": (3,)}
ALL = ("", "attention2")


class Source:
    """What is asked of the images."""

    digest = "d1" * 32

    def __init__(self, keys: Keys) -> None:
        self.keys = keys


def found(folder: Path, check: bool = False, keys: Keys | None = None) -> list[Work]:
    cache = open_cache(folder, "train")
    source = cast(ImageSource, Source(keys or make_keys()))
    units = list(cache.units())
    works = missing(cache, units, source, units if check else [])
    of_ranks = [missing(cache, units, source, units[rank::3] if check else []) for rank in range(3)]
    assert sorted({*chain(*of_ranks)}) == works, "processes that share the hashing find the same"
    return works


@every_format
@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("damage", [truncate, append, make_empty, Path.unlink])
def test_a_file_of_another_size_is_found(
    tmp_path: Path, store: str, layer: str, damage: Callable[[Path], None]
) -> None:
    cache = make_cache(tmp_path, make_manifest(store=store, added=ADDED))
    assert found(tmp_path) == found(tmp_path, check=True) == []
    for path in list(cache.receipt(1, 2, layer).files)[:2]:
        file = tmp_path / "train" / path
        whole = file.read_bytes()
        damage(file)
        assert found(tmp_path) == found(tmp_path, check=True) == [Work(1, 2, (layer,))]
        file.write_bytes(whole)


@every_format
def test_a_flipped_bit_is_found_with_check(tmp_path: Path, store: str) -> None:
    cache = make_cache(tmp_path, make_manifest(store=store, added=ADDED))
    for layer in ALL:
        for path in cache.receipt(0, 1, layer).files:
            file = tmp_path / "train" / path
            whole = file.read_bytes()
            flip_middle_bit(file)
            assert found(tmp_path) == []
            assert found(tmp_path, check=True) == [Work(0, 1, (layer,))]
            file.write_bytes(whole)


@pytest.mark.parametrize("damage", [truncate, flip_middle_bit, make_empty, Path.unlink])
def test_a_damaged_or_lost_receipt_is_found(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make_cache(tmp_path, make_manifest(added=ADDED))
    damage(tmp_path / "train" / receipt_path(1, 0))
    if damage is truncate:  # the newline at the end is no loss, the brace is
        damage(tmp_path / "train" / receipt_path(1, 0))
    damage(tmp_path / "train" / receipt_path(0, 2, "attention2"))
    works = [Work(0, 2, ("attention2",)), Work(1, 0, ("",))]
    assert found(tmp_path, check=True) == (works[1:] if damage is truncate else works)
    assert found(tmp_path) == found(tmp_path, check=True)


def test_a_folder_in_place_of_a_file_is_found(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest(store="webdataset"))
    (path,) = cache.receipt(1, 2).files
    (tmp_path / "train" / path).unlink()
    (tmp_path / "train" / path).mkdir()
    assert found(tmp_path) == [Work(1, 2, ("",))]


@pytest.mark.parametrize("check", [False, True])
def test_blocks_of_other_samples_are_found(tmp_path: Path, check: bool) -> None:
    """Those of one block of every view: the keys of two samples are swapped."""
    make_cache(tmp_path, make_manifest())
    names = [make_keys()[sample] for sample in range(10)]
    names[4], names[5] = names[5], names[4]
    other = Keys.pack(names)
    assert found(tmp_path, check, other) == [Work(0, 1, ("",)), Work(1, 1, ("",))]


@pytest.mark.parametrize("check", [False, True])
def test_views_that_leave_out_other_images_are_found(tmp_path: Path, check: bool) -> None:
    """Both are wrong, as either may be; a third view that agrees with the first is not."""
    manifest = make_manifest(views=3, store="webdataset")
    make_cache(tmp_path, manifest)
    cache = open_empty(tmp_path, manifest)
    sample = int(manifest.samples_of(1)[3])
    skipped = ((sample, make_keys()[sample], "broken"),)
    put(cache, replace(make_block(manifest, 1, 1), skipped=skipped))
    assert found(tmp_path, check) == [Work(0, 1, ("",)), Work(1, 1, ("",))]


def test_without_check_no_block_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cache(tmp_path, make_manifest(added=ADDED))
    paths = read_paths(monkeypatch)
    assert found(tmp_path) == []
    assert {path.partition("/")[0] for path in paths} == {
        "manifest.json", "receipts.index", "receipts",
    }  # fmt: skip
    assert len(paths) == 14, "each receipt once"


def test_a_new_cache_lacks_everything_and_asks_for_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_empty(tmp_path, make_manifest(added=ADDED))
    paths = read_paths(monkeypatch)
    assert found(tmp_path) == [Work(view, block, ALL) for view in range(2) for block in range(3)]
    assert paths == ["manifest.json", "receipts.index"]
