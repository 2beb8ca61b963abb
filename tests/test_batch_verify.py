"""verify.py on a cache of batch statistics: it compares whole batches, and makes them again."""

from dataclasses import replace
from pathlib import Path

import pytest

from precompute import blocks, job
from shared.records.teacher_batches import batches_of
from shared.store.opening import open_cache
from shared.targets.teacher import load_teacher
from tests.batch_caches import World, make_world, require_done
from tests.helpers import run, snapshot


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(("asked", "compared"), [(1, 70), (33, 70), (96, 108), (1000, 204)])
def test_verify_compares_whole_batches(world: World, asked: int, compared: int) -> None:
    done = run("precompute/verify.py", "--cache", world.whole, "--samples", asked, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    assert f"cached against live: {compared} views, 0 of which the live argmax" in done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line[0] == "|"][2:]
    assert len(rows) == 4
    for _, largest, _, beyond, wrong in rows:
        assert float(largest) < 1e-4 and beyond.strip() == f"0 of {compared}"
        assert float(wrong.split(",")[0]) > 0.05


def test_verify_of_derived_logits(world: World, tmp_path: Path) -> None:
    require_done(world.precompute(tmp_path, "--codec", "tiny"))
    done = run("precompute/verify.py", "--cache", tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)


def test_verify_finds_a_teacher_in_eval_mode(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        job,
        "load_teacher",
        lambda choice, device: load_teacher(replace(choice, statistics="eval"), device),
    )
    require_not_verified(world, tmp_path)


def test_verify_finds_other_batches(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "batches_of", lambda rows, batch: batches_of(rows, 2 * batch))
    require_not_verified(world, tmp_path)


def require_not_verified(world: World, cache: Path) -> None:
    require_done(world.precompute(cache))
    assert open_cache(cache, "train").manifest == open_cache(world.whole, "train").manifest
    done = run("precompute/verify.py", "--cache", cache, check=False)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "integrity: 4 of 4 blocks intact" in done.stdout
    assert "FAILED: cached and live channels, stage 3 differ in " in done.stderr


def test_repair_makes_the_same_bytes(world: World, tmp_path: Path) -> None:
    require_done(world.precompute(tmp_path))
    for path in (tmp_path / "train/receipts").iterdir():  # none is left to tell the batch size
        path.unlink()
    run("precompute/verify.py", "--cache", tmp_path, "--repair")
    assert snapshot(tmp_path) == snapshot(world.whole)
