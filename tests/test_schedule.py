"""Schedules: values, and what becomes of milestones in a shorter or longer run."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.schedule import Constant, Schedule, Steps, SwitchedOn

milestones = st.lists(st.integers(0, 200), max_size=4).map(lambda ms: tuple(sorted(ms)))
plain = st.builds(Constant, st.floats(0.1, 10)) | st.builds(
    Steps, st.floats(0.1, 10), st.floats(0.1, 1), milestones
)
lengths = st.integers(1, 300)


def test_constant() -> None:
    assert [Constant(0.1)(epoch) for epoch in (0, 1, 99)] == [0.1, 0.1, 0.1]


def test_steps() -> None:
    steps = Steps(8.0, factor=0.5, milestones=(2, 3, 5))
    assert [steps(epoch) for epoch in range(7)] == [8.0, 8.0, 4.0, 2.0, 2.0, 1.0, 1.0]


def test_steps_at_the_same_epoch_each_count() -> None:
    assert Steps(8.0, factor=0.5, milestones=(1, 1))(1) == 2.0


def test_switched_on() -> None:
    constant = SwitchedOn(Constant(0.1), start=2)
    assert [constant(epoch) for epoch in range(4)] == [0.0, 0.0, 0.1, 0.1]
    steps = SwitchedOn(Steps(8.0, factor=0.5, milestones=(1, 3)), start=2)
    assert [steps(epoch) for epoch in range(4)] == [0.0, 0.0, 4.0, 2.0]


@pytest.mark.parametrize(
    ("epochs", "of", "expected"),
    [
        (10, 100, (3, 6, 9)),
        (50, 100, (15, 30, 45)),
        (200, 100, (60, 120, 180)),
        (5, 100, (2, 3, 5)),  # 1.5 and 4.5 go up; 5 lies behind the end
        (2, 100, (1, 1, 2)),  # 0.6, 1.2, 1.8: two coincide
        (1, 100, (1, 1, 1)),  # 0.3 would be 0: the first epoch stays the first
    ],
)
def test_scaled_milestones(epochs: int, of: int, expected: tuple[int, ...]) -> None:
    steps = Steps(0.1, factor=0.1, milestones=(30, 60, 90))
    assert steps.scaled(epochs, of) == Steps(0.1, factor=0.1, milestones=expected)


def test_a_milestone_of_zero_stays_there() -> None:
    assert Steps(1.0, factor=0.5, milestones=(0,)).scaled(3, 100).milestones == (0,)


@pytest.mark.parametrize(
    ("start", "epochs", "expected"),
    [(30, 100, 30), (30, 10, 3), (30, 2, 1), (30, 1, 0), (99, 10, 9), (0, 10, 0)],
)
def test_scaled_switch_is_on_for_the_last_epoch_at_least(
    start: int, epochs: int, expected: int
) -> None:
    switched = SwitchedOn(Constant(1.0), start).scaled(epochs, of=100)
    assert switched == SwitchedOn(Constant(1.0), expected)


def test_scaled_reaches_the_schedule_inside_a_switch() -> None:
    inner = Steps(6.0, factor=0.9, milestones=(60, 90))
    assert SwitchedOn(inner, start=30).scaled(10, of=100) == SwitchedOn(
        Steps(6.0, factor=0.9, milestones=(6, 9)), start=3
    )


def test_a_switch_that_never_comes_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="a switch at epoch 100 never comes in 100 epochs"):
        SwitchedOn(Constant(1.0), start=100).scaled(10, of=100)


@given(schedule=plain, start=st.integers(0, 199))
def test_scaled_to_its_own_length_is_itself(schedule: Constant | Steps, start: int) -> None:
    assert schedule.scaled(200, of=200) == schedule
    assert SwitchedOn(schedule, start).scaled(200, of=200) == SwitchedOn(schedule, start)


@given(milestones=milestones, epochs=lengths, of=lengths)
def test_a_scaled_milestone_is_the_nearest_epoch_in_order(
    milestones: tuple[int, ...], epochs: int, of: int
) -> None:
    moved = Steps(1.0, factor=0.5, milestones=milestones).scaled(epochs, of).milestones
    assert list(moved) == sorted(moved)
    for before, after in zip(milestones, moved, strict=True):
        exact = Fraction(before * epochs, of)
        if before > 0 and exact < Fraction(1, 2):
            assert after == 1
        else:
            assert exact - Fraction(1, 2) < after <= exact + Fraction(1, 2)


@given(schedule=plain, start=st.integers(0, 199), epochs=lengths)
def test_first_and_last_epoch_keep_their_meaning_at_any_length(
    schedule: Constant | Steps, start: int, epochs: int
) -> None:
    assert schedule.scaled(epochs, of=200)(0) == schedule(0)
    switched: Schedule = SwitchedOn(schedule, start).scaled(epochs, of=200)
    assert switched(epochs - 1) > 0
    if epochs > 1:
        assert (switched(0) == 0) == (start > 0)
