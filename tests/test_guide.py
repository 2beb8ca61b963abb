"""The guided mask: who is in, who is out, and what is never looked at."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.epochs.guide import Guide, TeacherCorrect, TeacherLossBelow

LN3 = math.log(3.0)


def unreadable() -> Tensor:
    raise AssertionError("this guide must not decode logits")


def test_teacher_correct_compares_the_argmax_and_never_decodes_logits() -> None:
    pred = torch.tensor([3, 1, 0, -1], dtype=torch.int16)
    guided = TeacherCorrect()(pred, unreadable, torch.tensor([3, 2, 0, 0]))
    assert guided.dtype == torch.bool
    assert guided.tolist() == [True, False, True, False]


def test_teacher_loss_below_is_strictly_below() -> None:
    """Losses: ln 4, ln 4/3 and, for the teacher's own class 2 of three equal ones, ln 3."""
    logits = torch.tensor([[0.0, LN3, -1e4], [0.0, LN3, -1e4], [5.0, 5.0, 5.0]])
    labels = torch.tensor([0, 1, 2])
    pred = torch.tensor([1, 1, 0])

    def guided(threshold: float) -> list[bool]:
        mask = TeacherLossBelow(threshold)(pred, lambda: logits, labels)
        assert mask.dtype == torch.bool
        return mask.tolist()

    assert guided(0.0) == [False, False, False]
    assert guided(0.2876) == [False, False, False]
    assert guided(0.2877) == [False, True, False]  # ln 4/3 = 0.28768
    assert guided(1.0987) == [False, True, True]  # ln 3 = 1.09861
    assert guided(1.3864) == [True, True, True]  # ln 4 = 1.38629


def test_teacher_loss_equal_to_the_threshold_is_out() -> None:
    """One class has loss exactly 0."""
    mask = TeacherLossBelow(0.0)(torch.tensor([0]), lambda: torch.ones(1, 1), torch.tensor([0]))
    assert mask.tolist() == [False]


@pytest.mark.parametrize("guide", [TeacherCorrect(), TeacherLossBelow(1e9)], ids=repr)
@pytest.mark.parametrize("fill", [0.0, math.nan, math.inf])
def test_a_skipped_image_is_never_guided(guide: Guide, fill: float) -> None:
    logits = torch.tensor([[9.0, 0.0], [fill, fill]])
    guided = guide(torch.tensor([0, -1]), lambda: logits, torch.tensor([0, 0]))
    assert guided.tolist() == [True, False]


def test_a_skipped_image_is_not_guided_by_a_label_of_minus_one() -> None:
    guided = TeacherCorrect()(torch.tensor([-1]), unreadable, torch.tensor([-1]))
    assert guided.tolist() == [False]


def test_teacher_loss_is_float32_whatever_the_cache_holds() -> None:
    """1,000 equal logits have loss ln 1000 = 6.90776; float16 can only say 6.906 or 6.910."""
    logits = torch.full((1, 1000), 11.0, dtype=torch.float16)
    pred, labels = torch.tensor([0]), torch.tensor([7])
    assert TeacherLossBelow(6.9079)(pred, lambda: logits, labels).tolist() == [True]
    assert TeacherLossBelow(6.9077)(pred, lambda: logits, labels).tolist() == [False]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.floats(-20, 20),
    low=st.floats(0, 4),
    high=st.floats(0, 4),
)
def test_a_higher_threshold_guides_more_and_a_shift_of_a_row_changes_nothing(
    seed: int, shift: float, low: float, high: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(20, 5, generator=rng) * 3
    labels = torch.randint(5, (20,), generator=rng)
    pred = logits.argmax(1)
    low, high = sorted((low, high))
    fewer = TeacherLossBelow(low)(pred, lambda: logits, labels)
    more = TeacherLossBelow(high + 1e-4)(pred, lambda: logits + shift, labels)
    assert (more | ~fewer).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_loss_below_ln_2_means_that_the_teacher_is_correct(seed: int) -> None:
    """The label then has more than half of the probability, so it is the argmax."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(30, 4, generator=rng) * 3
    labels = torch.randint(4, (30,), generator=rng)
    pred = logits.argmax(1)
    sure = TeacherLossBelow(math.log(2))(pred, lambda: logits, labels)
    assert (TeacherCorrect()(pred, unreadable, labels) | ~sure).all()
