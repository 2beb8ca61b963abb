"""--dry-run says what the targets take in memory, what an epoch reads, and what would fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.distributed import World
from shared.store import view_memory
from shared.store.opening import Cache
from tests.small_cache import make_cache, make_manifest
from train import dry_run

BOTH = frozenset({"logits", "channels"})


def setup(cache: Cache | None, needs: frozenset[str] = BOTH, size: int = 1) -> Any:
    return SimpleNamespace(
        targets=SimpleNamespace(cache=cache, cached=cache is not None),
        recipe=SimpleNamespace(needs=needs),
        world=World(0, size),
    )


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "memory_bytes", lambda: 10**6)


def test_a_view_that_fits(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest())
    folder = tmp_path / "train" / "targets.zarr"
    read = sum(
        path.stat().st_size
        for name in ("logits", "channels", "box", "flip", "pred")
        for path in (folder / name / "c" / "0").rglob("*")
        if path.is_file()
    )
    # 10 samples of 2 x (3 + 14) bytes; 1.15 times that and 44 bytes a sample
    assert dry_run._machine(setup(cache)) == [
        f"machine  340 B of targets a view (34 bytes an image), of which 830 B lie in the 1 MB of "
        f"memory of each of 1, for all its processes; {read / 1000:.3g} kB read per epoch"
    ]
    some = dry_run._machine(setup(cache, frozenset({"logits"})))[0]
    assert "60 B of targets a view (6 bytes an image)" in some


def test_machines_share_a_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(tmp_path, make_manifest())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert (
        "of which 415 B lie in the 1 MB of memory of each of 2, for all"
        in (dry_run._machine(setup(cache, size=4))[0])
    )


def test_a_view_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 blocks of 4 samples: 3,400 bytes with codec half, 3,000 with tiny."""
    cache = make_cache(tmp_path, make_manifest(100, 4, 1))
    monkeypatch.setattr(view_memory, "WINDOW", 3100)
    tiny = make_manifest(100, 4, 1, "tiny")
    monkeypatch.setattr(view_memory, "in_codecs", lambda manifest: {"tiny": tiny})
    assert dry_run._machine(setup(cache))[1] == (
        "NOTE: the targets of 100 images with codec half take 3.4 kB a view (34 bytes an image), "
        "and training keeps at most 3.1 kB in memory: it goes through a view in windows of 91 % of "
        "it; what fits: --codec tiny (3 kB a view), --format webdataset, which is streamed; "
        "precompute/convert.py makes a smaller codec"
    )


def test_view_shards_are_streamed(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest(store="webdataset"))
    shards = sum(p.stat().st_size for p in (tmp_path / "train/shards").glob("v0000*"))
    assert dry_run._machine(setup(cache)) == [
        f"machine  {shards / 1000:.3g} kB read per epoch: view shards are streamed, and not kept "
        f"in memory"
    ]


def test_without_cached_targets_there_is_nothing_to_say() -> None:
    assert dry_run._machine(setup(None)) == []
