"""Losses of samples that are left out, of teachers that are very sure, of images far off."""

import math
from collections.abc import Callable

import pytest
import torch

from tests.loss_cases import assert_near, make_batch, random_case
from train.batch import Batch, StudentOutputs
from train.losses import KD, ChannelDistillation, GuidedKD, RobustChannelDistillation

# ---- guided KD: who is left out, is out


@pytest.mark.parametrize("count", [0.0, 0.5])
def test_no_guided_sample_is_exactly_zero_and_stays_in_the_graph(count: float) -> None:
    """With count 0.5 the other of two processes has the step's only guided sample."""
    student, batch = random_case(seed=2)
    logits = student.logits.requires_grad_()
    unguided = torch.zeros(len(batch.labels), dtype=torch.bool)
    value = GuidedKD()(student, Batch(batch.labels, batch.targets, unguided, batch.count, count))
    assert value.item() == 0.0 and value.requires_grad
    value.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_an_unguided_row_cannot_leak(poison: float, side: str) -> None:
    student, batch = random_case(seed=3)
    guided = torch.tensor([True, False, True, True, False, True])
    clean = make_batch(batch.labels, batch.targets["logits"], (), guided)
    expected = GuidedKD()(student, clean).item()

    ours, theirs = student.logits.clone(), batch.targets["logits"].clone()
    for name, logits in (("student", ours), ("teacher", theirs)):
        if side in (name, "both"):
            logits[1] = poison
            logits[4, 2] = poison
    value = GuidedKD()(
        StudentOutputs(ours.requires_grad_(), ()), make_batch(batch.labels, theirs, (), guided)
    )
    value.backward()
    assert value.item() == expected
    assert torch.isfinite(ours.grad).all()
    assert not ours.grad[~guided].any()
    assert ours.grad[guided].any(dim=1).all()


# ---- teachers that are very sure


@pytest.mark.parametrize("kind", [KD, GuidedKD])
@pytest.mark.parametrize("gap", [200.0, 1e4])
def test_underflowing_probabilities_stay_finite(kind: Callable, gap: float) -> None:
    """softmax gives the second class exactly 0; its part of the sum is 0, not 0 * -inf.

    What remains is the cross entropy with class 0: ln 2 for row 0, the gap itself for row 1.
    """
    logits = torch.tensor([[0.0, 0.0], [-gap, 0.0]], requires_grad=True)
    teacher = torch.tensor([[gap, 0.0], [gap, 0.0]])
    assert torch.softmax(teacher, dim=1)[0, 1] == 0.0
    batch = make_batch(torch.tensor([0, 0]), teacher, (), guided=torch.tensor([True, True]))
    value = kind()(StudentOutputs(logits, ()), batch)
    value.backward()
    assert value.item() == pytest.approx((math.log(2.0) + gap) / 2, rel=1e-6)
    expected = torch.tensor([[-0.25, 0.25], [-0.5, 0.5]])  # (softmax(s) - softmax(t)) / count
    assert_near(logits.grad, expected)


@pytest.mark.parametrize("far", [1e1, 1e3, 1e5])
def test_one_odd_image_pulls_no_harder_however_far_it_lies(far: float) -> None:
    """What RCD is for: under CD the gradient grows with the distance."""
    pulls = []
    for loss in (RobustChannelDistillation(), ChannelDistillation()):
        ours = torch.zeros(2, 3, requires_grad=True)
        theirs = torch.tensor([[0.1, 0.2, 0.3], [far, far, far]])
        guided = torch.tensor([True, True])
        batch = make_batch(torch.tensor([0, 1]), torch.zeros(2, 5), (theirs,), guided)
        loss(StudentOutputs(torch.zeros(2, 5), (ours,)), batch).backward()
        pulls.append(ours.grad[1].abs())
    assert_near(pulls[0], 2 / (batch.fixed.spread[0] * 3 * 2))
    assert_near(pulls[1], torch.full((3,), far / 3))
