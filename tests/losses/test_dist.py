"""DIST compares the samples of a batch, so it has tests of its own. Logits are moderate here: the
deviations of a class that every sample is sure of are lost in float32, in any implementation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.loss_cases import make_batch, quick, random_case
from tests.losses.slow import slow_of_logits
from train.batch import Batch, StudentOutputs
from train.losses import DIST

moderate = st.builds(
    random_case,
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 7),
    classes=st.integers(3, 6),
    spread=st.sampled_from([0.3, 2.0]),
)
DISTS = [DIST(), DIST(0.5, 2.0, 4.0)]


@pytest.mark.parametrize("loss", DISTS, ids=repr)
@quick
@given(case=moderate)
def test_equals_the_slow_reference(loss: DIST, case: tuple[StudentOutputs, Batch]) -> None:
    value = loss(*case)
    assert value.shape == () and value.dtype == torch.float32
    assert value.item() == pytest.approx(slow_of_logits(loss, *case), rel=1e-4, abs=1e-3)


@quick
@given(case=moderate)
def test_zero_at_the_teacher_and_four_at_most(case: tuple[StudentOutputs, Batch]) -> None:
    """At the teacher a correlation is n / (n + 1e-8), n: the square of the norm. In a batch of one
    the second part is 1: one number has no correlation."""
    student, batch = case
    at_teacher = DIST()(StudentOutputs(batch.targets["logits"], ()), batch).item()
    y = batch.targets["logits"].double().softmax(1)
    squares = [(y - y.mean(dim, keepdim=True)).square().sum(dim) for dim in (1, 0)]
    expected = sum((1e-8 / (n + 1e-8)).mean().item() for n in squares)
    assert at_teacher == pytest.approx(expected, abs=1e-3)
    assert -1e-3 < DIST()(student, batch).item() < 4 + 1e-3


@quick
@given(case=moderate, shift=st.floats(-5, 5))
def test_blind_to_a_constant_added_to_a_row_and_to_the_order_of_samples(
    case: tuple[StudentOutputs, Batch], shift: float
) -> None:
    student, batch = case
    order = torch.arange(len(batch.labels)).flip(0)
    moved = make_batch(
        batch.labels[order], batch.targets["logits"][order] - shift, (), batch.guided[order]
    )
    value = DIST()(StudentOutputs(student.logits[order] + shift, ()), moved)
    assert value.item() == pytest.approx(DIST()(student, batch).item(), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_computes_in_float32_whatever_comes_in(dtype: torch.dtype, autocast: bool) -> None:
    student, batch = random_case(seed=8)
    ours, theirs = student.logits.to(dtype), batch.targets["logits"].to(dtype)

    def value(*through: torch.dtype) -> torch.Tensor:
        rounded = [x.to(*through) if through else x for x in (ours, theirs)]
        case = make_batch(batch.labels, rounded[1], (), batch.guided)
        return DIST()(StudentOutputs(rounded[0], ()), case)

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = value()
    assert got.dtype == torch.float32
    assert got.item() == value(torch.float32).item()
