"""A run that the disk has no room for is refused before it starts."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import precompute.run
from precompute import estimate
from precompute.estimate import count_files, require_space
from shared.errors import InputError
from shared.files.local import LocalFiles
from shared.records.block import Work
from shared.store.opening import Cache, open_cache
from tests.helpers import run_precompute
from tests.plans import VIEWS, Inputs, inputs, kind

__all__ = ["inputs", "kind"]  # fixtures of the tests below


def test_room_for_what_is_written_and_no_more_than_twice_that(
    inputs: Inputs, kind: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*inputs.flags(*kind), "--cache", tmp_path / "cache")
    run_precompute(*flags)
    written = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*"))
    cache = open_cache(tmp_path / "cache", "train")
    source = inputs.job(*kind).source
    units = [Work(*unit) for unit in cache.units()]

    def with_free(free: int, missing: list[Work], processes: int = 1) -> None:
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage)
        require_space(cache, source, missing, processes)

    with_free(2 * written, units)
    with_free(2 * written, units[::2], processes=2)
    with_free(0, [])
    for missing, processes in ((units, 1), (units[::2], 2)):
        with pytest.raises(InputError):
            with_free(written, missing, processes)
    with_free(2 * written // VIEWS, units[: len(units) // VIEWS])


def test_a_run_stops_before_the_teacher_starts(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*inputs.flags("zarr", "half"), "--cache", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["run.py", "--split", "train", *map(str, flags)])
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(InputError, match=r"lacks 720 views of up to 1\.63 MB in all, and 1 MB "):
        precompute.run.main()
    assert not list(tmp_path.iterdir()), "a manifest would refuse the smaller codec"


def test_error_text(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = inputs.job("zarr", "half")
    cache = Cache(LocalFiles(tmp_path / "new" / "train"), job.manifest)
    asked = []

    def disk_usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=12_345)

    monkeypatch.setattr(estimate.shutil, "disk_usage", disk_usage)
    with pytest.raises(InputError) as caught:
        require_space(cache, job.source, [Work(*unit) for unit in cache.units()])
    # 720 views of 2 x (3 + 960) + 21 bytes, 6 blocks of 6 files of up to 4096 more, 5 % room
    assert str(caught.value) == (
        f"the disk has no room for the cache: {tmp_path}/new/train lacks 720 views of up to "
        f"1.63 MB in all, and 12.3 kB are free; make room, give a --cache on a larger disk, a "
        f"smaller --codec, fewer --views or fewer --targets (precompute/plan.py tells sizes)"
    )
    assert asked == [tmp_path]


def test_count_files_knows_the_head(inputs: Inputs) -> None:
    half, compact = (inputs.job("webdataset", codec).manifest for codec in ("half", "compact"))
    assert count_files(compact) - count_files(half) == 1
    # manifest, receipts.index, targets.json, channels.json
    assert count_files(half) == 4 + VIEWS * 2 * 2
