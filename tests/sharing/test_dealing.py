"""Dealing: every block is made once, and no process is idle while another has a group to make."""

import heapq
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precompute import dealing
from precompute.claims import Claims
from precompute.dealing import Dealer
from precompute.skips import Skips
from shared.distributed import World
from shared.errors import InputError
from shared.records.block import Work
from shared.records.receipt import receipt_path
from tests.sharing.conftest import MemoryFiles
from tests.small_cache import make_manifest


class Shared:
    """A cache in memory. Of a block that is made only the names of its receipts are written."""

    def __init__(self, views: int, blocks: int) -> None:
        self.files = MemoryFiles()
        self.manifest = make_manifest(samples=4 * blocks, block=4, views=views)
        self.made: list[tuple[int, int]] = []

    def is_done(self, *unit: Any) -> bool:
        return unit[:2] in self.made

    def make(self, dealer: Dealer, work: Work) -> None:
        for layer in work.layers:
            self.files.write(receipt_path(work.view, work.block, layer), b"")
        self.made.append((work.view, work.block))
        block: Any = SimpleNamespace(view=work.view, index=work.block, layer="")
        dealer.finished(block)

    def dealer(self, most: int, world: World = World(), share: float | None = None) -> Dealer:  # noqa: B008
        todo = [
            Work(view, block)
            for view in range(self.manifest.views)
            for block in range(self.manifest.blocks)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dealing, "most_views", lambda job: most)
            job: Any = type("Job", (), {"source": None})
            skips, claims = Skips(share, 100), Claims(self.files)  # type: ignore[arg-type]
            names = self.files.names("receipts")
            return Dealer(self, job, todo, skips, names, world, claims)  # type: ignore[arg-type]


@settings(max_examples=25)
@given(
    st.integers(1, 12),
    st.integers(1, 15),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30)), min_size=1, max_size=6),
    st.booleans(),
)
def test_no_block_twice_and_little_idle_time(
    views: int, blocks: int, most: int, processes: list[tuple[int, int]], torchrun: bool
) -> None:
    """Processes of given speeds that join at given times, in simulated time."""
    cache, size = Shared(views, blocks), len(processes)
    events: list[tuple[float, int]] = []  # when a process has nothing to do
    ends: dict[int, float] = {}
    largest = 0.0  # the longest time that a process takes for a group
    last = 0.0  # when the last block was made
    open_groups: dict[int, tuple[Work, ...]] = {}
    with ExitStack() as stack:
        dealers: dict[int, Dealer] = {}
        for place, (_, joins) in enumerate(processes):
            heapq.heappush(events, (0.0 if torchrun else float(joins), place))
        while events:
            now, place = heapq.heappop(events)
            if place not in dealers:
                world = World(place, size) if torchrun else World()
                dealers[place] = stack.enter_context(cache.dealer(most, world))
            for work in open_groups.pop(place, ()):
                cache.make(dealers[place], work)
                last = now
            group = next(dealers[place].groups(), None)
            if group is None:
                assert not dealers[place].more(), "the others are alive"
                ends[place] = now
                continue
            assert len(group) <= most
            open_groups[place] = group
            taken = processes[place][0] * len(group)
            largest = max(largest, taken)
            heapq.heappush(events, (now + taken, place))
    units = {(view, block) for view in range(views) for block in range(blocks)}
    assert len(cache.made) == len(units) and set(cache.made) == units
    assert all(end >= last - largest for end in ends.values())
    assert not [name for name in cache.files.there if not name.startswith("receipts/")]


def test_a_process_alone_takes_whole_groups_in_order() -> None:
    cache = Shared(10, 3)
    with cache.dealer(most=8) as dealer:
        groups = list(dealer.groups())
    assert [(group[0].block, [work.view for work in group]) for group in groups] == [
        (block, list(range(first, first + 5))) for block in range(3) for first in (0, 5)
    ]


def test_few_views_on_many_processes_are_dealt_one_by_one_at_the_end() -> None:
    """Two views of 39 blocks on 16 processes: in groups of two, 18 % of the time would be idle."""
    cache = Shared(2, 39)
    turns = []
    with ExitStack() as stack:
        dealers = [stack.enter_context(cache.dealer(10, World(rank, 64))) for rank in range(64)]
        clocks = [(0, rank) for rank in range(16)]
        while clocks:
            now, rank = heapq.heappop(clocks)
            group = next(dealers[rank].groups(), ())
            for work in group:
                cache.make(dealers[rank], work)
            if group:
                heapq.heappush(clocks, (now + len(group), rank))
            else:
                turns.append(now)
    assert len(cache.made) == 78 and max(turns) == 5, "78 / 16 = 4.9"


def test_a_claim_costs_few_requests() -> None:
    """Object stores answer each in some 30 ms."""
    cache = Shared(10, 200)
    with cache.dealer(10, World(0, 2)) as one, cache.dealer(10, World(1, 2)) as other:
        for dealer in (one, other) * 5:
            group = next(dealer.groups())
            before = cache.files.requests
            for work in group:
                cache.make(dealer, work)
            next(dealer.groups())
            assert cache.files.requests - before <= 4 * len(group) + 2


def test_damaged_blocks_are_checked_again_when_they_are_claimed() -> None:
    """Their receipts are there, and say nothing."""
    cache = Shared(1, 4)
    for block in range(4):
        cache.files.write(receipt_path(0, block), b"damaged")
    with cache.dealer(1) as one, cache.dealer(1) as other:
        for group in one.groups():
            cache.make(one, group[0])
        assert next(other.groups(), None) is None and other.made_elsewhere == 16
    assert sorted(cache.made) == [(0, block) for block in range(4)]


def test_bad_images_that_others_skip_count() -> None:
    skips = Skips(0.02, 100)
    cache: Any = Shared(2, 4)
    receipts = {(0, 0): (5,), (1, 0): (5,), (1, 1): (6,), (0, 2): (7,)}

    def receipt(view: int, block: int) -> Any:
        skipped = tuple((index, f"{index}.jpg", "zero bytes") for index in receipts[view, block])
        return type("Receipt", (), {"skipped": skipped})

    cache.receipt = receipt
    skips.learn(cache, [(0, 0), (1, 0), (1, 1)])
    with pytest.raises(InputError, match=r"3 of the 100 images in images do not decode, the last"):
        skips.learn(cache, [(0, 2)])
    Skips(None, 100).learn(cache, [(0, 2)])
