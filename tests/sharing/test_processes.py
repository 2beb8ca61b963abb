"""Real processes that fill one cache: they join late, leave early, and are killed."""

import re
import signal
from pathlib import Path

import pytest

from tests.halting import GO
from tests.helpers import run, run_precompute, snapshot
from tests.processes import Finished, Started, finish, start, start_halting, start_world, wait_until

IMAGES, VIEWS, BLOCKS = 24, 2, 12
MADE = re.compile(r"(\d+) views in ")


def command(inputs: tuple[object, ...], cache: Path) -> tuple[object, ...]:
    return ("precompute/run.py", "--split", "train", *inputs, "--cache", cache)


def halted(inputs: tuple[object, ...], cache: Path, blocks: int = 1) -> Started:
    """A process that has finished so many blocks, and claimed more."""
    note = cache.with_name(f"{cache.name} halted {blocks}")
    process = start_halting("*/receipts/*", blocks, note, *command(inputs, cache))  # type: ignore[arg-type]
    assert claims(cache)
    return process


def claims(cache: Path) -> list[str]:
    return [path.name for path in (cache / "train").glob(".claim~*")]


def left(cache: Path) -> list[str]:
    return [path.name for path in (cache / "train").iterdir() if path.name.startswith(".")]


def made(done: Finished) -> int:
    found = MADE.search(done.stdout)
    assert found, done
    return int(found[1])


def test_one_joins_late_and_the_slow_one_ends_last(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None]
) -> None:
    cache = tmp_path / "cache"
    slow = halted(inputs, cache)
    # As long as the slow one is alive, what it has claimed is not touched.
    other = run_precompute(*inputs, "--cache", cache)
    assert "other processes' blocks are still to come" in other.stdout
    assert 0 < made(other) < VIEWS * IMAGES
    slow.signal(GO)
    (done,) = finish([slow])
    assert "\ndone: " in done.stdout
    assert made(done) + made(other) == VIEWS * IMAGES, "a block was made twice"
    assert snapshot(cache) == expected and not left(cache)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_leaves_early_and_another_makes_the_rest(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None], number: int
) -> None:
    """It is stopped or killed while the other is at work."""
    cache = tmp_path / "cache"
    leaves = halted(inputs, cache)
    stays = halted(inputs, cache, blocks=2)
    leaves.signal(number)
    left_early = leaves.wait()
    if number == signal.SIGTERM:
        assert left_early.returncode == 128 + signal.SIGTERM
        assert "finished blocks are kept" in left_early.stderr
    else:
        assert left_early.returncode == -signal.SIGKILL
    stays.signal(GO)
    (done,) = finish([stays])
    assert "\ndone: " in done.stdout
    assert snapshot(cache) == expected and not left(cache)


def test_a_stopped_process_releases_its_claims(tmp_path: Path, inputs: tuple[object, ...]) -> None:
    cache = tmp_path / "cache"
    process = halted(inputs, cache)
    process.signal(signal.SIGTERM)
    assert process.wait().returncode == 128 + signal.SIGTERM
    assert left(cache) == []


def test_a_killed_process_loses_nothing(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None]
) -> None:
    cache = tmp_path / "cache"
    process = halted(inputs, cache, blocks=3)
    process.signal(signal.SIGKILL)
    process.wait()
    assert claims(cache)
    # What it left makes no cache look damaged.
    again = run_precompute(*inputs, "--cache", cache)
    assert re.search(rf"[23] of {BLOCKS} blocks are there", again.stdout)
    assert snapshot(cache) == expected and not left(cache)


@pytest.mark.slow
def test_torchrun(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None]
) -> None:
    both = finish(start_world(2, *command(inputs, tmp_path)))  # type: ignore[arg-type]
    assert any("\ndone: " in done.stdout for done in both)
    assert sum(map(made, both)) == VIEWS * IMAGES
    assert snapshot(tmp_path) == expected and not left(tmp_path)


@pytest.mark.slow
def test_one_is_killed_while_two_join(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None]
) -> None:
    cache = tmp_path / "cache"
    first = halted(inputs, cache)
    others = [start(*command(inputs, cache)) for _ in range(2)]  # type: ignore[arg-type]
    before = set(claims(cache))
    wait_until(lambda: set(claims(cache)) != before or not all(each.alive for each in others))
    first.signal(signal.SIGKILL)
    first.wait()
    finish(others)
    # Both may have ended before it was killed, having seen it alive.
    run_precompute(*inputs, "--cache", cache)
    assert snapshot(cache) == expected and not left(cache)


@pytest.mark.slow
def test_readers_ignore_claims(
    tmp_path: Path, inputs: tuple[object, ...], expected: dict[str, bytes | None]
) -> None:
    run_precompute(*inputs, "--cache", tmp_path)
    for name in (".claim~v0000-b000000~0", ".claim~v0001-b000005~3", ".alive~someone"):
        (tmp_path / "train" / name).write_bytes(b"\xff\0")
    verified = run("precompute/verify.py", "--cache", tmp_path, "--samples", 8)
    assert f"{BLOCKS} of {BLOCKS} blocks intact" in verified.stdout
    again = run_precompute(*inputs, "--cache", tmp_path)
    assert "0 to make" in again.stdout
    assert snapshot(tmp_path) == expected, "a run that finds the cache complete tidies up"
