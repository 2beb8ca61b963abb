"""Cosine decay and linear warm-up: values, peaks, and what becomes of them in another length."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.schedule import Constant, Cosine, Schedule, Steps, SwitchedOn, WarmUp

values = st.floats(0.01, 10)
lengths = st.integers(1, 300)
plain = (
    st.builds(Constant, values)
    | st.builds(Steps, values, st.floats(0.1, 1), st.just((60, 120)))
    | st.builds(Cosine, values, st.integers(1, 200))
)
schedules: st.SearchStrategy[Schedule] = st.recursive(
    plain,
    lambda inner: (
        st.builds(SwitchedOn, inner, st.integers(0, 199))
        | st.builds(WarmUp, inner, st.integers(1, 200))
    ),
    max_leaves=3,
)


def test_cosine_by_hand() -> None:
    found = [Cosine(2.0, epochs=4)(epoch) for epoch in range(6)]
    half = math.sqrt(0.5)
    assert found == pytest.approx([2.0, 1 + half, 1.0, 1 - half, 0.0, 0.0])


def test_cosine_with_a_floor_by_hand() -> None:
    found = [Cosine(2.0, epochs=2, floor=1.0)(epoch) for epoch in range(4)]
    assert found == pytest.approx([2.0, 1.5, 1.0, 1.0])


def test_warm_up_by_hand() -> None:
    assert [WarmUp(Constant(8.0), 4)(epoch) for epoch in range(6)] == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]
    steps = WarmUp(Steps(8.0, factor=0.5, milestones=(1, 3)), epochs=2)
    assert [steps(epoch) for epoch in range(5)] == [4.0, 4.0, 4.0, 2.0, 2.0]
    assert WarmUp(Constant(0.3), 1)(0) == 0.3, "a warm-up of one epoch is none"


@pytest.mark.parametrize(
    ("epochs", "expected"), [(100, 5), (50, 3), (200, 10), (10, 1), (1, 1)]
)  # 2.5 goes up
def test_a_warm_up_keeps_its_share_of_the_run(epochs: int, expected: int) -> None:
    inner = Steps(0.1, factor=0.1, milestones=(60,))
    scaled = WarmUp(inner, 5).scaled(epochs, of=100)
    assert scaled == WarmUp(inner.scaled(epochs, of=100), expected)


@given(value=values, floor=st.floats(0, 0.01), epochs=lengths)
def test_cosine_falls_from_its_value_to_its_floor(value: float, floor: float, epochs: int) -> None:
    found = [Cosine(value, epochs, floor)(epoch) for epoch in range(epochs + 2)]
    assert found[0] == pytest.approx(value) and found[epochs:] == pytest.approx([floor] * 2)
    assert found == sorted(found, reverse=True)
    assert found[epochs - 1] > floor or value == floor, "the last epoch still learns"


@given(value=values, epochs=lengths)
def test_a_cosine_over_the_whole_run_stays_that_at_any_length(value: float, epochs: int) -> None:
    assert Cosine(value, 200, 0.001).scaled(epochs, of=200) == Cosine(value, epochs, 0.001)


@given(schedule=schedules)
def test_scaled_to_its_own_length_is_itself(schedule: Schedule) -> None:
    assert schedule.scaled(200, of=200) == schedule


@given(schedule=schedules, value=values, epochs=lengths)
def test_a_schedule_is_its_peak_times_a_shape(
    schedule: Schedule, value: float, epochs: int
) -> None:
    """Whatever wraps it; and neither changes with the length of the run what the other says."""
    other = schedule.peaking_at(value)
    assert other.peak == value and schedule.peaking_at(schedule.peak) == schedule
    assert schedule.scaled(epochs, of=200).peak == schedule.peak
    assert other.scaled(epochs, of=200) == schedule.scaled(epochs, of=200).peaking_at(value)
    for epoch in (0, 7, 60, 199):
        assert other(epoch) / value == pytest.approx(schedule(epoch) / schedule.peak)


@given(inner=plain, warm=st.integers(1, 200), epoch=st.integers(0, 299))
def test_a_warm_up_changes_nothing_once_it_is_over(inner: Schedule, warm: int, epoch: int) -> None:
    value = WarmUp(inner, warm)(epoch)
    assert value == inner(epoch) if epoch >= warm - 1 else 0 <= value < inner(epoch) or value == 0
