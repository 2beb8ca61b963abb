"""The order of sliding.py, compared with a slow one, and how far and how evenly it moves places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.epochs import sliding
from shared.epochs.order import random_words
from shared.epochs.sliding import sliding_order

SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 10**6)


def slow_order(count: int, reach: int, seed: int, epoch: int) -> list[int]:
    keys = []
    for place, word in enumerate(random_words(count, seed, epoch, "sliding").tolist()):
        key = place - reach + ((word >> 32) * (2 * reach + 1) >> 32)
        if key < 0:
            key = -1 - key
        if key >= count:
            key = 2 * count - 1 - key
        keys.append((key, place))
    return [place for _, place in sorted(keys)]


@given(st.data(), st.integers(1, 400), SEEDS, EPOCHS, st.integers(1, 500))
def test_it_is_the_order_of_the_keys_in_segments_of_any_size(
    data: st.DataObject, count: int, seed: int, epoch: int, segment: int
) -> None:
    reach = data.draw(st.integers(0, count - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliding, "_SEGMENT", segment)
        order = sliding_order(count, reach, seed, epoch)
    assert order.tolist() == slow_order(count, reach, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert (abs(order - np.arange(count)) <= 2 * reach).all()


@pytest.mark.parametrize(
    ("seed", "epoch", "reach", "expected"),
    [
        (0, 0, 0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (0, 0, 3, [2, 3, 0, 4, 1, 7, 5, 6, 9, 11, 10, 8]),
        (0, 1, 3, [0, 1, 4, 2, 5, 3, 6, 7, 9, 10, 11, 8]),
        (2**63 - 1, 99, 11, [8, 0, 4, 9, 3, 11, 1, 2, 5, 7, 10, 6]),
    ],
)
def test_the_order_never_changes(seed: int, epoch: int, reach: int, expected: list[int]) -> None:
    """A run that was begun with one version goes on with the next."""
    assert sliding_order(12, reach, seed, epoch).tolist() == expected


@pytest.mark.parametrize(("first", "near"), [(0, 200), (500, 400), (990, 200)])
def test_a_step_draws_evenly_from_the_places_within_reach(first: int, near: int) -> None:
    """10 of 1000 ranks, in 300 epochs: `near` places are within a reach of 200.

    In the first and the last step these are half as many, with keys that are reflected.
    """
    epochs, reach = 300, 200
    counts = np.zeros(1000)
    for epoch in range(epochs):
        counts[sliding_order(1000, reach, 5, epoch)[first : first + 10]] += 1
    away = abs(np.arange(1000) - first - 5)
    # The number of keys below a place varies by about 8, so the edge of the window is not sharp.
    assert counts[away > reach + 40].sum() == 0
    inside = counts[away < reach - 40]
    expected = epochs * 10 / near  # 7.5 or 15 a place
    assert abs(inside.mean() / expected - 1) < 0.05
    assert abs(inside - expected).max() < 6 * expected**0.5
