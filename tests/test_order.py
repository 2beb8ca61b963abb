"""Sample order: a pure function of (seed, epoch), every sample once, batches of equal size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.epochs.order import epoch_order, split_batches

SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 10**6)
SAMPLES = st.lists(st.integers(0, 10**12), min_size=1, max_size=300, unique=True).map(
    lambda numbers: np.array(numbers, dtype=np.int64)
)


@given(SAMPLES, SEEDS, EPOCHS)
def test_every_sample_comes_once(samples: NDArray[np.int64], seed: int, epoch: int) -> None:
    order = epoch_order(samples, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == sorted(samples.tolist())


@given(SAMPLES, SEEDS, EPOCHS, st.integers(1, 400))
def test_batches_cover_the_order_in_sizes_that_differ_by_one(
    samples: NDArray[np.int64], seed: int, epoch: int, batch_size: int
) -> None:
    order = epoch_order(samples, seed, epoch)
    batches = split_batches(order, batch_size)
    assert np.concatenate(batches).tolist() == order.tolist()
    sizes = [len(batch) for batch in batches]
    assert len(batches) == -(-len(samples) // batch_size)
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1 and max(sizes) <= batch_size


@given(SAMPLES, SEEDS, EPOCHS)
def test_the_order_is_a_pure_function(samples: NDArray[np.int64], seed: int, epoch: int) -> None:
    """Neither the calls before, nor NumPy's global state, nor the values of the samples matter."""
    before = samples.copy()
    first = epoch_order(samples, seed, epoch)
    np.random.seed(seed % 2**32)
    epoch_order(samples, seed, epoch + 1)
    assert epoch_order(samples, seed, epoch).tolist() == first.tolist()
    assert samples.tolist() == before.tolist()
    places = epoch_order(np.arange(len(samples)), seed, epoch)
    assert first.tolist() == samples[places].tolist()


@given(SEEDS, EPOCHS, SEEDS, EPOCHS)
def test_another_seed_or_epoch_is_another_order(
    seed: int, epoch: int, other_seed: int, other_epoch: int
) -> None:
    samples = np.arange(60)
    mine = epoch_order(samples, seed, epoch).tolist()
    assert mine != epoch_order(samples, seed, epoch + 1).tolist()
    assert mine != epoch_order(samples, seed ^ 1, epoch).tolist()
    same = (seed, epoch) == (other_seed, other_epoch)
    assert (mine == epoch_order(samples, other_seed, other_epoch).tolist()) == same


@pytest.mark.parametrize(
    ("seed", "epoch", "expected"),
    [
        (0, 0, [3, 4, 9, 2, 1, 5, 11, 10, 0, 6, 8, 7]),
        (0, 1, [8, 3, 7, 4, 5, 10, 9, 11, 6, 0, 2, 1]),
        (1, 0, [8, 3, 7, 9, 10, 2, 6, 5, 4, 0, 11, 1]),
        (2**63 - 1, 99, [4, 9, 8, 6, 0, 2, 3, 10, 7, 5, 1, 11]),
    ],
)
def test_the_order_never_changes(seed: int, epoch: int, expected: list[int]) -> None:
    """A run that was begun with one version goes on with the next."""
    assert epoch_order(np.arange(12), seed, epoch).tolist() == expected


def test_every_place_is_as_likely() -> None:
    """5 samples, 6000 epochs: each of 25 counts is 1200 +- 31 if the order is uniform."""
    epochs = 6000
    places = np.stack([epoch_order(np.arange(5), seed=3, epoch=epoch) for epoch in range(epochs)])
    for place in range(5):
        counts = np.bincount(places[:, place], minlength=5)
        assert (abs(counts - epochs / 5) < 5 * 31).all(), counts


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(257, 256, [129, 128]), (256, 256, [256]), (3, 256, [3]), (7, 1, [1] * 7)],
)
def test_no_batch_is_a_short_remainder(count: int, batch_size: int, sizes: list[int]) -> None:
    """257 samples in batches of 256 are not 256 and a lonely one."""
    assert [len(batch) for batch in split_batches(np.arange(count), batch_size)] == sizes
