"""Conversions of caches of random numbers, exact to half mostly, which takes no weights:
any kinds, any place, more views, stopped and started again."""

import shutil
import signal
from pathlib import Path

import pytest

from shared.store.opening import FORMATS, open_cache
from tests.converting import CONVERT, PAIRS, convert, flip_bit, make_pair, require_done
from tests.helpers import require_refused, run, snapshot
from tests.processes import start_halting
from tests.small_cache import make_cache, make_manifest, version_1


@pytest.mark.parametrize("store", FORMATS)
def test_a_cache_of_version_1_stays_one(tmp_path: Path, store: str) -> None:
    for codec in ("exact", "half"):
        make_cache(tmp_path / codec, version_1(make_manifest(codec=codec, store=store)))
    require_done(convert(tmp_path / "exact", tmp_path / "new", "half"), 6)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")
    make_cache(tmp_path / "newer", make_manifest(codec="half", store=store))
    before = snapshot(tmp_path / "newer")
    done = convert(tmp_path / "exact", tmp_path / "newer", "half")
    require_refused(done, " has version 2 of the format and ", " has 1, which a conversion keeps: ")
    assert snapshot(tmp_path / "newer") == before


@pytest.mark.parametrize("store", FORMATS)
@pytest.mark.parametrize(("old", "new"), [*PAIRS, ("half", "tiny")])
def test_added_kinds_are_converted_too(tmp_path: Path, store: str, old: str, new: str) -> None:
    """Of a cache that keeps no logits: derived ones would need the weights."""
    added = {"attention1": (4,), "map2": (3, 2, 2)}
    for codec in {old, new}:
        manifest = make_manifest(codec=codec, store=store, targets=("channels",), added=added)
        make_cache(tmp_path / codec, manifest)
    done = convert(tmp_path / old, tmp_path / "new", new)
    require_done(done, 3 * 6)
    mine, theirs = snapshot(tmp_path / "new"), snapshot(tmp_path / new)
    assert mine.keys() == theirs.keys()
    if (old, new) != ("half", "tiny"):  # which carries half's error, and says so
        assert mine == theirs
    cache = open_cache(tmp_path / "new", "train")
    assert all(cache.missing_layers(*unit) == () for unit in cache.units())


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_folders_and_urls(tmp_path: Path, prefix: str) -> None:
    make_pair(tmp_path)
    require_done(convert(f"{prefix}{tmp_path}/exact", f"{prefix}{tmp_path}/new", "half"), 6)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


@pytest.mark.parametrize("store", FORMATS)
def test_killed_and_started_again(tmp_path: Path, store: str) -> None:
    blocks = 24
    make_pair(tmp_path, store, samples=4 * blocks, views=1)
    receipts = tmp_path / "new" / "train" / "receipts"
    flags = ("--cache", tmp_path / "exact", "--to", tmp_path / "new", "--codec", "half")
    process = start_halting("*/new/train/receipts/*", 3, tmp_path / "halted", CONVERT, *flags)
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    there = len(list(receipts.iterdir()))
    assert 2 < there < blocks
    require_done(run(CONVERT, *flags), blocks - there)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


def test_what_is_lost_or_damaged_is_converted_again(tmp_path: Path) -> None:
    make_pair(tmp_path)
    new = tmp_path / "new"
    shutil.copytree(tmp_path / "half", new)
    require_done(convert(tmp_path / "exact", new, "half"), 0)
    (new / "train/receipts/v0001-b000001.json").unlink()
    (new / "train/targets.zarr/logits/c/0/2/0").unlink()
    flip_bit(new / "train/targets.zarr/channels/c/0/0/0")
    (new / "train/targets.zarr/label/c/1").unlink()  # of no block
    require_done(convert(tmp_path / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "half")


def test_views_that_only_one_side_has(tmp_path: Path) -> None:
    """More of the old cache's are added; more of the new cache's are left as they are."""
    make_pair(tmp_path / "one", views=1)
    make_pair(tmp_path / "two", views=2)
    new = tmp_path / "new"
    require_done(convert(tmp_path / "one" / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "one" / "half")
    require_done(convert(tmp_path / "two" / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "two" / "half")
    (new / "train/receipts/v0000-b000001.json").unlink()
    require_done(convert(tmp_path / "one" / "exact", new, "half"), 1)
    assert snapshot(new) == snapshot(tmp_path / "two" / "half")
