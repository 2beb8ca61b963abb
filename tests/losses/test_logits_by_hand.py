"""Losses on logits against values worked out by hand."""

import math

import pytest
import torch

from tests.loss_cases import SomeClasses
from train.batch import Batch, Fixed, StudentOutputs
from train.losses import DIST, DKD, IKL, KD, NKD, WTTM, Loss, TargetClass, WKDLogits

LN2 = math.log(2.0)
EPS = 0.05
# K = exp(-cost / eps) is 1/2 between any two classes.
CLASSES = SomeClasses(
    prior=torch.tensor([[1 / 2, 1 / 4, 1 / 4], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    distance=EPS * LN2 * (1 - torch.eye(3)),
)


def one_row() -> tuple[StudentOutputs, Batch]:
    """Teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4), label 0; batch of one."""
    teacher = torch.tensor([[1 / 2, 1 / 4, 1 / 4]]).log()
    student = StudentOutputs(torch.tensor([[1 / 4, 1 / 2, 1 / 4]]).log(), ())
    fixed = Fixed(classes=CLASSES)
    return student, Batch(torch.tensor([0]), {"logits": teacher}, None, 1.0, 0.0, fixed)


TCKD = LN2 / 2 + math.log(2 / 3) / 2  # (1/2, 1/2) from (1/4, 3/4)
NCKD = math.log(3 / 4) / 2 + math.log(3 / 2) / 2  # (1/2, 1/2) from (2/3, 1/3)
ENTROPY = LN2 + LN2 / 4 + LN2 / 2  # 1/2 ln 4 + 1/4 ln 2 + 1/4 ln 4


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DKD(1.0, 0.0), TCKD),
        (DKD(0.0, 1.0), NCKD),
        (DKD(2.0, 3.0), 2 * TCKD + 3 * NCKD),
        (TargetClass(), LN2),  # -1/2 ln 1/4
        # The other classes: -1/2 ln 2/3 - 1/2 ln 1/3.
        (NKD(1.5), LN2 + 1.5 * (math.log(3 / 2) + math.log(3)) / 2),
        # r = (1/4, 1/16, 1/16), Z = 3/8, r / Z = (2/3, 1/6, 1/6).
        (WTTM(2.0, weighted=False), 0.403206),
        (WTTM(2.0), 0.403206 * 3 / 8),
        # d = (ln 2, -ln 2, 0). Squares of the pairs: 4, 1 and 1 (ln 2)^2, each pair twice.
        (IKL(0.0, 1.0), 0.25 * 2 * LN2**2 * (4 / 8 + 1 / 8 + 1 / 16)),
        (IKL(1.0, 0.0), ENTROPY),
        # Centred: (-1, 2, -1) / 12 and (2, -1, -1) / 12, product -3, squares 6. Batch of one: 1.
        (DIST(1.0, 0.0), 1.5),
        (DIST(0.0, 1.0), 1.0),
        # Standardised, T = 1: (1, 0, 0) - 1/3 over 1 / sqrt 3, and the same with (0, 1, 0); the
        # two largest are sqrt 3 above the others. KL = (p_1 - p_2) sqrt 3.
        (KD(1.0, True), math.sqrt(3) * (math.exp(3**0.5) - 1) / (math.exp(3**0.5) + 2)),
        # q_t = (1/2, 1/2), q_s = (2/3, 1/3) on two classes. u = (1/2, 1/2), so u K = (3/4, 3/4) and
        # v = (2/3, 2/3); K v = (1, 1), u = q_s. Moved: u_1 K v_2 + u_2 K v_1 = 1/3.
        (WKDLogits(1.0, EPS, 1, 0.0), EPS * LN2 / 3),
    ],
    ids=str,
)
def test_one_row(loss: Loss, expected: float) -> None:
    assert loss(*one_row()).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("swapped", "expected"), [(False, 0.0), (True, 4.0)], ids=["same", "swapped"]
)
def test_dist_of_two_rows(swapped: bool, expected: float) -> None:
    """Correlations of 1 in every row and column, or of -1."""
    rows = torch.tensor([[1 / 4, 3 / 4], [3 / 4, 1 / 4]]).log()
    ours = rows.flip(0) if swapped else rows
    batch = Batch(torch.tensor([0, 1]), {"logits": rows}, None, 2.0, 0.0)
    assert DIST()(StudentOutputs(ours, ()), batch).item() == pytest.approx(expected, abs=1e-6)
    assert DIST(0.5, 0.25)(StudentOutputs(ours, ()), batch).item() == pytest.approx(
        expected * 0.375, abs=1e-6
    )


@pytest.mark.parametrize("loss", [DKD(), NKD(), DIST()], ids=repr)
def test_temperature_divides_the_logits_and_its_square_multiplies(loss: Loss) -> None:
    """NKD's first term has neither."""
    student, batch = one_row()
    halved = StudentOutputs(student.logits / 2, ())
    halves = Batch(batch.labels, {"logits": batch.targets["logits"] / 2}, None, 1.0, 0.0)
    first = TargetClass() if isinstance(loss, NKD) else lambda *case: torch.zeros(())
    expected = 4 * (loss(halved, halves) - first(halved, halves)) + first(student, batch)
    warm = type(loss)(**{**vars(loss), "temperature": 2.0})
    assert warm(student, batch).item() == pytest.approx(expected.item(), abs=2e-6)
