"""Commands with --teacher-statistics batch: the same bytes whoever makes them; plan, training."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import precompute.plan
import train.run
from precompute import measure
from shared.records.identity import cache_id
from shared.store.opening import open_cache
from tests.batch_caches import World, in_process, make_world, require_done
from tests.helpers import STUDENT, require_refused, run, run_precompute, snapshot
from tests.processes import finish, start_halting, start_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def real(world: World) -> Iterator[Path]:
    """320 images in two blocks, the second of 64; one view."""
    cache = world.folder / "real"
    done = run_precompute(*world.flags(cache, "--views", 1, "--block", 256))
    assert "statistics of batches of 256" in done.stdout
    yield cache


def test_a_second_run_and_grown_views_and_lost_blocks_give_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    expected = snapshot(world.whole)
    require_done(world.precompute(tmp_path, "--views", 1))
    assert len(snapshot(tmp_path)) < len(expected)
    require_done(world.precompute(tmp_path))
    assert snapshot(tmp_path) == expected
    (tmp_path / "train/receipts/v0001-b000001.json").unlink()
    (tmp_path / "train/shards/v0000-b000000.tar").write_bytes(b"")
    require_done(world.precompute(tmp_path))
    assert snapshot(tmp_path) == expected


def test_a_kill_costs_nothing(world: World, real: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    flags = ("--split", "train", *world.flags(cache, "--views", 1, "--block", 256))
    process = start_halting("*receipts/*", 1, tmp_path / "note", "precompute/run.py", *flags)
    process.signal(9)
    process.wait()
    assert len(list((cache / "train/receipts").iterdir())) == 1
    assert "1 of 2 blocks are there" in run("precompute/run.py", *flags).stdout
    assert snapshot(cache) == snapshot(real)


def test_two_processes_make_the_same_bytes(world: World, real: Path, tmp_path: Path) -> None:
    flags = ("--split", "train", *world.flags(tmp_path, "--views", 1, "--block", 256))
    finish(start_world(2, "precompute/run.py", *flags))
    assert snapshot(tmp_path) == snapshot(real)


def test_the_default_block_holds_whole_batches(world: World, real: Path, tmp_path: Path) -> None:
    run_precompute(*world.flags(tmp_path, "--views", 1))
    manifest = open_cache(tmp_path, "train").manifest
    assert (manifest.block, manifest.blocks) == (512, 1)  # 256, and 64 in a batch of their own
    assert cache_id(manifest) != cache_id(open_cache(real, "train").manifest)


def test_plan_says_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.2)
    flags = world.flags(tmp_path / "cache")
    done = require_done(in_process(precompute.plan, "--split", "train", *flags))
    assert "32 px, fp32, batch statistics, codec exact, format webdataset, " in done.stdout
    assert not (tmp_path / "cache").exists()


def test_training_and_agreement(world: World, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    require_done(world.precompute(cache))
    require_done(world.precompute(cache, "--policy", "center", "--views", 1, split="val"))
    common = (*STUDENT, "--cache", cache, "--out", tmp_path / "run", "--batch-size", 32)
    flags = (*common, "--epochs", 1, "--workers", 0, "--device", "cpu")
    done = in_process(train.run, *flags, "--teacher", "live")
    require_refused(
        done, f"{cache}/train, whose teacher used the statistics of batches", "use --teacher cached"
    )
    assert not (tmp_path / "run").exists()
    done = require_done(in_process(train.run, *flags))
    assert "teacher cifar_resnet20, batch statistics, from the cache" in done.stdout
    checkpoint = tmp_path / "run/best.pt"
    done = run("train/eval.py", "--checkpoint", checkpoint, "--cache", cache, "--workers", 0)
    assert "agrees with the teacher's top-1 on" in done.stdout and " of 16, KL" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line == (
        f"NOTE: the teacher of {cache}/val used the statistics of batches of 32 val images: "
        f"agreement is with what it said in those"
    )
