"""What must always hold of losses: zeros, shifts, parts of a batch, precisions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.targets.targets import rows_of
from tests.loss_cases import WIDTHS, assert_near, cases, every_loss, make_batch, quick, random_case
from tests.said import stages_of
from train.batch import Batch, StudentOutputs
from train.losses import KD, GuidedKD, Loss


def some_of(student: StudentOutputs, batch: Batch, rows: slice, parts: int = 1) -> tuple:
    """Some samples of a batch, with the whole batch's counts divided by `parts`."""
    cut = StudentOutputs(student.logits[rows], tuple(c[rows] for c in student.channels))
    targets = rows_of(batch.targets, rows)
    counts = batch.count / parts, batch.guided_count / parts
    return cut, Batch(batch.labels[rows], targets, batch.guided[rows], *counts, batch.fixed)


@quick
@given(case=cases, temperature=st.sampled_from([1.0, 2.0, 4.0]))
def test_kd_is_zero_at_the_teacher_and_never_below(
    case: tuple[StudentOutputs, Batch], temperature: float
) -> None:
    student, batch = case
    logits = batch.targets["logits"].clone().requires_grad_()
    at_teacher = KD(temperature)(StudentOutputs(logits, ()), batch)
    at_teacher.backward()
    assert at_teacher.item() == 0.0
    assert_near(logits.grad, torch.zeros_like(logits))
    assert KD(temperature)(student, batch).item() >= -1e-5


@every_loss
@quick
@given(case=cases, shift=st.floats(-50, 50), teacher_shift=st.floats(-50, 50))
def test_blind_to_a_constant_added_to_a_row_of_logits(
    loss: Loss, case: tuple[StudentOutputs, Batch], shift: float, teacher_shift: float
) -> None:
    student, batch = case
    shifted = StudentOutputs(student.logits + shift, student.channels)
    moved = make_batch(
        batch.labels,
        batch.targets["logits"] + teacher_shift,
        stages_of(batch.targets, WIDTHS),
        guided=batch.guided,
    )
    expected = loss(student, batch).item()
    assert loss(shifted, moved).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


@quick
@given(case=cases, temperature=st.sampled_from([1.0, 4.0]))
def test_guided_kd_is_kd_where_every_sample_is_guided(
    case: tuple[StudentOutputs, Batch], temperature: float
) -> None:
    student, batch = case
    everyone = torch.ones(len(batch.labels), dtype=torch.bool)
    batch = make_batch(batch.labels, batch.targets["logits"], (), guided=everyone)
    guided = GuidedKD(temperature)(student, batch)
    assert guided.item() == KD(temperature)(student, batch).item()


@every_loss
@quick
@given(case=cases, cut=st.integers(0, 7))
def test_two_uneven_parts_average_to_the_whole_with_its_gradients(
    loss: Loss, case: tuple[StudentOutputs, Batch], cut: int
) -> None:
    """As train/batch.py promises for processes: counts over parts, then losses averaged.

    `cut` may leave a part without samples, or without guided ones.
    """
    student, batch = case
    leaves = (student.logits.requires_grad_(), *(c.requires_grad_() for c in student.channels))
    whole = loss(student, batch)
    parts = [
        loss(*some_of(student, batch, rows, parts=2)) for rows in (slice(cut), slice(cut, None))
    ]
    average = (parts[0] + parts[1]) / 2
    assert_near(average, whole)
    for one, two in zip(
        torch.autograd.grad(whole, leaves, allow_unused=True),
        torch.autograd.grad(average, leaves, allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (two is None)
        if one is not None:
            assert_near(two, one)


@every_loss
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_float32_whatever_comes_in(
    loss: Loss, dtype: torch.dtype, autocast: bool
) -> None:
    """The loss of rounded inputs is the float32 loss of them, bit for bit."""
    student, batch = random_case(seed=1)

    def rounded(*through: torch.dtype) -> tuple[StudentOutputs, Batch]:
        def cast(tensor: Tensor) -> Tensor:
            for step in through:
                tensor = tensor.to(step)
            return tensor

        outputs = StudentOutputs(cast(student.logits), tuple(map(cast, student.channels)))
        logits = cast(batch.targets["logits"])
        channels = tuple(map(cast, stages_of(batch.targets, WIDTHS)))
        return outputs, make_batch(batch.labels, logits, channels, batch.guided)

    case = rounded(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = loss(*case)
    assert got.dtype == torch.float32
    assert got.item() == loss(*rounded(dtype, torch.float32)).item()
