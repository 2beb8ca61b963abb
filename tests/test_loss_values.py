"""Losses against a slow float64 reference and against values worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor

from tests.loss_cases import cases, every_loss, make_batch, quick
from tests.losses.slow import slow_of_logits, slow_softmax
from tests.said import stages_of
from train.batch import Batch, StudentOutputs
from train.losses import CE, KD, ChannelDistillation, GuidedKD, Loss, RobustChannelDistillation

LN3 = math.log(3.0)


# ---- the reference: one sample, one class at a time, in float64


def slow_ce(student: StudentOutputs, batch: Batch) -> float:
    total = 0.0
    for row, label in zip(student.logits.double().numpy(), batch.labels.tolist(), strict=True):
        total += -math.log(slow_softmax(row, 1.0)[label])
    return total / batch.count


def slow_kd(student: StudentOutputs, batch: Batch, temperature: float, guided: bool) -> float:
    total = 0.0
    for i in range(len(batch.labels)):
        if guided and not batch.guided[i]:
            continue
        p = slow_softmax(batch.targets["logits"][i].double().numpy(), temperature)
        q = slow_softmax(student.logits[i].double().numpy(), temperature)
        for p_c, q_c in zip(p, q, strict=True):
            total += p_c * (math.log(p_c) - math.log(q_c))
    count = batch.guided_count if guided else batch.count
    return temperature**2 * total / count if count else 0.0


def teachers_stages(student: StudentOutputs, batch: Batch) -> tuple[Tensor, ...]:
    return stages_of(batch.targets, [means.shape[1] for means in student.channels])


def slow_cd(student: StudentOutputs, batch: Batch) -> float:
    total = 0.0
    for ours, theirs in zip(student.channels, teachers_stages(student, batch), strict=True):
        samples, width = ours.shape
        stage = 0.0
        for i in range(samples):
            for c in range(width):
                stage += (float(ours[i, c]) - float(theirs[i, c])) ** 2
        total += stage / (width * batch.count)
    return total


def slow_rcd(student: StudentOutputs, batch: Batch, beta: float) -> float:
    total = 0.0
    stages = teachers_stages(student, batch)
    for ours, theirs, spread in zip(student.channels, stages, batch.fixed.spread, strict=True):
        samples, width = ours.shape
        stage = 0.0
        for i in range(samples):
            for c in range(width):
                x = abs(float(ours[i, c]) - float(theirs[i, c])) / float(spread[c])
                stage += x**2 if x <= beta else beta**2 + 2 * beta * (x - beta)
        total += stage / (width * batch.count)
    return total


def slow(loss: Loss, student: StudentOutputs, batch: Batch) -> float:
    match loss:
        case CE():
            return slow_ce(student, batch)
        case KD(temperature, standardise=False):
            return slow_kd(student, batch, temperature, guided=False)
        case GuidedKD(temperature, standardise=False):
            return slow_kd(student, batch, temperature, guided=True)
        case ChannelDistillation():
            return slow_cd(student, batch)
        case RobustChannelDistillation(beta):
            return slow_rcd(student, batch, beta)
        case _:
            return slow_of_logits(loss, student, batch)


# ---- values


@every_loss
@quick
@given(case=cases)
def test_equals_the_slow_reference(loss: Loss, case: tuple[StudentOutputs, Batch]) -> None:
    value = loss(*case)
    assert value.shape == () and value.dtype == torch.float32
    assert value.item() == pytest.approx(slow(loss, *case), rel=1e-4, abs=1e-4)


def two_rows(guided: list[bool]) -> tuple[StudentOutputs, Batch]:
    """Row 0: student (1/2, 1/2), teacher (1/4, 3/4). Row 1: student (1/4, 3/4), teacher (3/4, 1/4).

    KL of row 0: ln(1/2)/4 + 3/4 ln(3/2) = 0.130812. KL of row 1: 3/4 ln 3 - 1/4 ln 3 = 0.549306.
    """
    student = StudentOutputs(
        logits=torch.tensor([[0.0, 0.0], [0.0, LN3]]),
        channels=(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [7.0]])),
    )
    channels = (torch.zeros(2, 2), torch.tensor([[4.0], [9.0]]))
    logits = torch.tensor([[0.0, LN3], [LN3, 0.0]])
    return student, make_batch(torch.tensor([0, 1]), logits, channels, torch.tensor(guided))


@pytest.mark.parametrize(
    ("loss", "guided", "expected"),
    [
        (CE(), [True, True], (0.693147 + 0.287682) / 2),  # ln 2, -ln 3/4
        (KD(), [True, True], (0.130812 + 0.549306) / 2),
        (GuidedKD(), [True, True], (0.130812 + 0.549306) / 2),
        (GuidedKD(), [True, False], 0.130812),
        (GuidedKD(), [False, True], 0.549306),
        # Stage 1: (1 + 4 + 9 + 16) / (2 * 2); stage 2: (1 + 4) / (1 * 2).
        (ChannelDistillation(), [True, True], 7.5 + 2.5),
        # Divided by 1/2 and 3/4: 2, 8/3 and 6, 16/3; stage 2, by 1/2: 2 and -4. Beyond 1 a
        # difference x counts 2 x - 1.
        (RobustChannelDistillation(), [True, True], (3 + 13 / 3 + 11 + 29 / 3) / 4 + (3 + 7) / 2),
        (RobustChannelDistillation(beta=100), [True, True], (4 + 64 / 9 + 36 + 256 / 9) / 4 + 10),
    ],
    ids=str,
)
def test_values_by_hand(loss: Loss, guided: list[bool], expected: float) -> None:
    assert loss(*two_rows(guided)).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", [KD, GuidedKD])
def test_temperature_divides_the_logits_and_its_square_multiplies(kind: Callable) -> None:
    student = StudentOutputs(torch.zeros(1, 2), ())
    batch = make_batch(
        torch.tensor([1]), torch.tensor([[0.0, 2 * LN3]]), (), guided=torch.tensor([True])
    )
    assert kind(2.0)(student, batch).item() == pytest.approx(4 * 0.130812, abs=4e-6)
