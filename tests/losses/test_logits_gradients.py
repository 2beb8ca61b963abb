"""Gradients of losses on logits: against differences of the float64 reference, and when extreme."""

from dataclasses import replace

import pytest
import torch

from tests.loss_cases import LOSSES_OF_LOGITS, make_batch, random_case
from tests.losses.slow import slow_of_logits
from train.batch import StudentOutputs
from train.losses import DIST, KD, Loss

every_loss_of_logits = pytest.mark.parametrize(
    "loss", [*LOSSES_OF_LOGITS, DIST(), DIST(0.5, 2.0, 4.0)], ids=repr
)
STEP = 1e-5


@every_loss_of_logits
def test_gradients_are_the_slopes_of_the_reference(loss: Loss) -> None:
    student, batch = random_case(seed=5, samples=3, classes=4, spread=1.5)
    batch = replace(batch, guided=torch.tensor([True, False, True]), guided_count=2.0)
    logits = student.logits.requires_grad_()
    loss(student, batch).backward()
    for place in range(logits.numel()):
        moved = []
        for step in (STEP, -STEP):
            other = logits.detach().double().clone()
            other.view(-1)[place] += step
            moved.append(slow_of_logits(loss, StudentOutputs(other, ()), batch))
        slope = (moved[0] - moved[1]) / (2 * STEP)
        assert logits.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-3, abs=2e-5)


@every_loss_of_logits
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("gap", [200.0, 1e4])
@pytest.mark.parametrize("samples", [1, 8])
def test_extreme_logits_give_finite_losses_and_gradients(
    loss: Loss, classes: int, gap: float, samples: int
) -> None:
    """Every combination of sure, wrong and torn is among eight rows of -gap, 0 and gap."""
    rng = torch.Generator().manual_seed(int(gap) + classes)
    ours, theirs = ((torch.randint(3, (samples, classes), generator=rng) - 1) * gap for _ in "st")
    theirs[0], ours[0] = 0.0, 0.0
    theirs[0, 0], ours[0, 1] = gap, gap  # each sure of another class
    labels = torch.randint(classes, (samples,), generator=rng)
    batch = make_batch(labels, theirs, (), torch.ones(samples, dtype=torch.bool))
    value = loss(StudentOutputs(ours.requires_grad_(), ()), batch)
    value.backward()
    assert torch.isfinite(value) and value.item() >= -1e-3
    assert torch.isfinite(ours.grad).all()


@every_loss_of_logits
def test_a_batch_of_one_has_a_finite_gradient(loss: Loss) -> None:
    student, batch = random_case(seed=6, samples=1)
    batch = replace(batch, guided=torch.tensor([True]), guided_count=1.0)
    loss(student := replace(student, logits=student.logits.requires_grad_()), batch).backward()
    assert torch.isfinite(student.logits.grad).all() and student.logits.grad.any()


def test_equal_logits_have_finite_gradients_when_standardised() -> None:
    """Their deviation is 0, whose root has no slope."""
    logits = torch.ones(2, 4, requires_grad=True)
    theirs = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]])
    batch = make_batch(torch.tensor([0, 1]), theirs, (), torch.tensor([True, True]))
    KD(standardise=True)(StudentOutputs(logits, ()), batch).backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[1].any()


@every_loss_of_logits
@pytest.mark.parametrize("classes", [1, 7])
def test_refuses_other_classes(loss: Loss, classes: int) -> None:
    _, batch = random_case(seed=7, samples=2, classes=classes)
    student = StudentOutputs(torch.zeros(2, 5), ())
    with pytest.raises(ValueError, match=rf"got .* \(2, 5\) from the student and \(2, {classes}\)"):
        loss(student, batch)
