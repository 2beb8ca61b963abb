"""From one measured process to many: what limits them, and how they share cores and blocks."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from precompute.cache_bytes import CacheBytes
from precompute.decoding import Decoding
from precompute.measure import Costs
from precompute.prices import Machine, Prices
from tests.small_cache import make_manifest

IMAGES, BLOCK = 100_000, 1000
DECODING = Decoding(0.004, 0.001, 0.002, None, [], [])  # type: ignore[arg-type]


def prices(
    workers: int = 8, teacher: float = 0.001, pipeline: float = 0.001, views: int = 4, gpus: int = 8
) -> Prices:
    size = CacheBytes({"": 1e9}, 1e5, 10**6)
    costs = Costs(
        views=1000, size=size, codecs={}, pipeline=pipeline, group=views, decoding=DECODING,
        encoding=1e-5, reading=1e-5, teacher=teacher, student=0.003, tails=None,
    )  # fmt: skip
    job: Any = SimpleNamespace(
        manifest=replace(make_manifest(IMAGES, BLOCK, views), size=32),
        workers=workers,
        batch_size=256,
    )
    return Prices(job, costs, Machine(gpus, 16, 10**11))


def test_one_process_takes_as_long_as_measured() -> None:
    assert prices().precompute(4) == pytest.approx(4 * IMAGES * 0.001)


def test_enough_decoding_cores_scale_with_the_processes() -> None:
    """An image and 4 views: 8 ms on one core, 2 a view; 1 ms of the teacher needs two cores."""
    found = prices()
    assert found.precompute(4, 8) == pytest.approx(found.precompute(4) / 8)
    assert not found.decoding_limits(4, 8)


def test_processes_share_the_cores_of_a_machine() -> None:
    """With 8 on 16 cores each has 2, and a view alone takes 5 ms on one."""
    found = prices(views=1)
    assert not found.decoding_limits(1, 2) and found.decoding_limits(1, 8)
    assert found.precompute(1, 8) == pytest.approx(13 * BLOCK * 0.0025), "13 of 100 blocks each"
    assert found.precompute(1, 16) == pytest.approx(7 * BLOCK * 0.0025), "on two machines"


def test_more_views_cost_less_each_where_decoding_limits() -> None:
    found = prices(workers=1, teacher=0.0001, pipeline=0.002)
    assert found.view_seconds(4) == pytest.approx(0.002)
    assert found.view_seconds(1) == pytest.approx(0.005)
    assert found.view_seconds(40) == pytest.approx(0.0011)


def test_without_workers_decoding_and_teacher_take_turns() -> None:
    found = prices(workers=0, teacher=0.03, pipeline=0.032, gpus=1)
    assert found.view_seconds(4) == pytest.approx(0.032)
    assert found.view_seconds(1) == pytest.approx(0.035)
    assert found.epoch(1) == pytest.approx(IMAGES * 0.005)
    assert found.epoch(2, is_live=True) == pytest.approx(IMAGES * 0.035 / 2)


def test_a_block_is_made_by_one_process() -> None:
    found = prices(workers=2, gpus=1)
    assert found.precompute(1, 300) == found.precompute(1, 100)
    assert found.precompute(1, 100) == pytest.approx(BLOCK * found.view_seconds(1))


def test_an_epoch_is_as_long_as_the_slower_of_device_and_decoding() -> None:
    found = prices()
    assert found.epoch(8) == pytest.approx(IMAGES * 0.003 / 8)
    assert found.epoch(8, is_live=True) == pytest.approx(IMAGES * 0.004 / 8)
    slow = replace(found, machine=Machine(8, 4, 10**11))  # half a core for each
    assert slow.epoch(8) == pytest.approx(IMAGES * 0.004 / 8)


def test_memory_counts_processes_and_workers() -> None:
    one, eight = prices(gpus=1), prices(gpus=8)
    assert eight.memory() > 7 * one.memory() / 8 + 7 * 10**6
    assert one.memory() < 50e9
