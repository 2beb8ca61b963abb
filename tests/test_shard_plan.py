"""The plan of an epoch deals every shard once, and as many batches to each process."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.loaders.shard_plan import plan, step_sizes

BLOCKS = st.lists(st.integers(1, 40), min_size=1, max_size=20).map(np.array)


@settings(max_examples=200, deadline=None)
@given(
    samples=BLOCKS,
    batch_size=st.integers(1, 64),
    epoch=st.integers(0, 5),
    world=st.integers(1, 4),
    workers=st.integers(0, 3),
)
def test_a_plan_deals_every_block_once_and_as_many_batches_to_each_rank(
    samples: np.ndarray, batch_size: int, epoch: int, world: int, workers: int
) -> None:
    try:
        shares = plan(samples, batch_size, 7, epoch, world, workers)
    except InputError as error:  # a rank with fewer samples than steps: nothing could be dealt
        assert "use fewer processes" in str(error) and world > 1
        return
    assert len(shares) == world
    assert {len(hands) for hands in shares} == {max(1, workers)}
    dealt = sorted(block for hands in shares for share in hands for block in share.blocks)
    assert dealt == list(range(len(samples)))
    assert len({sum(share.batches for share in hands) for hands in shares}) == 1
    for share in (share for hands in shares for share in hands):
        assert share.samples == sum(samples[block] for block in share.blocks)
        assert (share.batches > 0) == (share.samples > 0)
        assert share.batches <= share.samples
    fullest = max(sum(share.samples for share in hands) for hands in shares)
    assert sum(share.batches for share in shares[0]) == max(1, -(-fullest // batch_size))
    for hands in shares:
        assert sorted(step_sizes(hands)) == sorted(
            len(part)
            for share in hands
            if share.batches
            for part in np.array_split(np.empty(share.samples), share.batches)
        )


def test_a_plan_is_a_pure_function_and_differs_by_epoch_and_seed() -> None:
    samples = np.full(12, 100)
    first = plan(samples, 32, 0, 0, 2, 2)
    assert first == plan(samples, 32, 0, 0, 2, 2)
    assert first != plan(samples, 32, 0, 1, 2, 2)
    assert first != plan(samples, 32, 1, 0, 2, 2)


def test_too_many_processes_for_the_shards_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"a process has 0 samples .* use fewer processes"):
        plan(np.array([10, 10]), 4, 0, 0, 3, 1)
