"""Losses on embedding and head: against slow references, by hand, and by finite differences."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.losses.embedding_cases import SMALL_CRD, case, every_loss, leaves, value, with_values
from tests.losses.slow_embedding import slow
from train.batch import Batch, StudentOutputs
from train.losses import CRD, L2, PKT, RKD, SRD, SRRL, Loss, NormDirection


@every_loss
@pytest.mark.parametrize(
    ("samples", "width", "classes", "scale"),
    [(6, 4, 5, 2.0), (3, 2, 2, 0.1), (7, 5, 2, 30.0), (2, 6, 3, 1.0), (9, 3, 4, 1.0)],
)
def test_equals_the_slow_reference(
    loss: Loss, samples: int, width: int, classes: int, scale: float
) -> None:
    student, batch = case(samples, samples, width, classes, scale)
    found = value(loss, student, batch)
    assert found.shape == () and found.dtype == torch.float32
    assert found.item() == pytest.approx(slow(loss, student, batch), rel=2e-4, abs=1e-5)


def two(ours: list[list[float]], theirs: list[list[float]]) -> tuple[StudentOutputs, Batch]:
    """Two samples of class 0 and 1 with embeddings of two numbers, the student's also as parts."""
    student, batch = case(0, samples=len(ours), width=2, classes=2)
    rows = torch.tensor(ours)
    student = replace(student, embedding=rows, parts={"srrl": rows, "srd": rows})
    fixed = replace(
        batch.fixed,
        spread=(torch.tensor([2.0, 1.0]),),
        head=replace(batch.fixed.head, weight=torch.tensor([[1.0, 0.0], [1.0, -1.0]])),
        classes=replace(batch.fixed.classes, centres=torch.tensor([[1.0, 0.0], [0.6, 0.8]])),
    )
    labels = torch.arange(len(ours)) % 2
    targets = {"embedding": torch.tensor(theirs)}
    return student, replace(batch, labels=labels, targets=targets, fixed=fixed)


A, B = [[1.0, 2.0], [3.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]  # differences (1, 2) and (2, -1)
LOG_3 = math.log(3)


@pytest.mark.parametrize(
    ("loss", "ours", "theirs", "expected"),
    [
        (L2(), A, B, (1 + 4 + 4 + 1) / 4),
        # Divided by 2 and 1: 1/2, 2, 1, -1. Beyond 1 a difference x counts 2 x - 1.
        (L2(beta=1.0), A, B, (0.25 + 3 + 1 + 1) / 4),
        # Logits differ by (1, -1) and (2, 3).
        (SRRL(), A, B, 2.5 + (1 + 1 + 4 + 9) / 4),
        (SRRL(head_weight=2.0), A, B, 2.5 + 2 * 15 / 4),
        # Their spreads are 2 and sqrt 5: 1/2, 0.4472, 1, 1.3416.
        (SRRL(beta=1.0), A, B, 5.25 / 4 + (0.25 + 0.2 + 1 + 2 * 3 / math.sqrt(5) - 1) / 4),
        # 3/5 of the longer vector's length 5, which is the student's; then 4/10, the teacher's.
        (NormDirection(), [[3.0, 4.0], [0.0, 5.0]], [[1.0, 0.0], [6.0, 8.0]], (0.4 + 0.6) / 2),
        # Each column is -1, 1 or 1, -1 once normalised: one column agrees, the other is 2 off.
        (SRD(), [[0.0, 1e3], [1e3, 0.0]], [[0.0, 0.0], [1e3, 1e3]], math.log(2 * 2**4)),
        # Right angle: rows (2/3, 1/3). The same direction: (1/2, 1/2).
        (
            PKT(),
            [[1.0, 0.0], [0.0, 2.0]],
            [[1.0, 1.0], [2.0, 2.0]],
            (2 * (math.log(3 / 4) / 2 + math.log(3 / 2) / 2)) / 4,
        ),
        # Distances 3, 4, 5 against 1, 1, 2, each by its mean: 3/4, 1, 5/4 and 3/4, 3/4, 3/2.
        (
            RKD(distance=1.0, angle=0.0),
            [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]],
            [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]],
            2 * (0.25**2 / 2 + 0.25**2 / 2) / 9,
        ),
        # Cosines 0, 3/5, 4/5 against -1, 1, 1; each twice.
        (
            RKD(distance=0.0, angle=1.0),
            [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]],
            [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]],
            2 * (0.5 + 0.4**2 / 2 + 0.2**2 / 2) / 27,
        ),
    ],
    ids=str,
)
def test_values_by_hand(
    loss: Loss, ours: list[list[float]], theirs: list[list[float]], expected: float
) -> None:
    assert value(loss, *two(ours, theirs)).item() == pytest.approx(expected, rel=1e-5)


def test_crd_by_hand() -> None:
    """A memory of zeros: every P is 1 / Z, and Z is chosen so that this is K / N."""
    student, batch = case(1, samples=2)
    memory = batch.fixed.memory
    memory.student.zero_()
    memory.teacher.zero_()
    memory.labels.fill_(-1)
    memory.log_sums.fill_(math.log(40 / 16))
    loss = value(SMALL_CRD, student, batch)
    assert loss.item() == pytest.approx(2 * (1 + 16) * math.log(2), rel=1e-6)


def test_crd_takes_its_constants_from_the_first_step() -> None:
    student, batch = case(2)
    memory = batch.fixed.memory
    memory.steps = 0
    drawn, bank = memory.draw(16), memory.teacher.double().clone()
    rows = student.parts["crd_student"].double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    found = []
    for row, label, index in zip(rows, batch.labels, batch.index, strict=True):
        others = [j for j in drawn.tolist() if memory.labels[j] != label]
        terms = [math.exp(row @ bank[j] / 0.07) for j in others]
        own = math.exp(row @ bank[index] / 0.07)
        found.append((own + 16 * sum(terms) / len(terms)) / 17)
    SMALL_CRD(student, batch)
    expected = math.log(40 * sum(found) / len(found))
    assert memory.log_sums[0].item() == pytest.approx(expected, rel=1e-5)
    kept = memory.log_sums.clone()
    SMALL_CRD(student, batch)
    assert torch.equal(memory.log_sums, kept) and memory.steps == 2


@every_loss
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    """Of the slow reference, in float64."""
    student, batch = case(11, samples=5)
    found = leaves(student)
    value(loss, student, batch).backward()
    rng = torch.Generator().manual_seed(3)
    reached = {name: leaf for name, leaf in found.items() if leaf.grad is not None}
    assert reached
    for name, leaf in reached.items():
        direction = torch.randn(leaf.shape, generator=rng, dtype=torch.float64)

        def at(
            step: float, name: str = name, leaf: Tensor = leaf, way: Tensor = direction
        ) -> float:
            moved = with_values(student, {name: leaf.detach().double() + step * way})
            return slow(loss, moved, batch)

        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        assert (leaf.grad.double() * direction).sum().item() == pytest.approx(
            slope, rel=2e-3, abs=1e-5
        ), name


def test_each_loss_reaches_what_it_trains() -> None:
    wanted: dict[Loss, set[str]] = {
        L2(): {"embedding"},
        SRRL(): {"srrl"},
        NormDirection(): {"embedding"},
        SRD(): {"srd"},
        PKT(): {"embedding"},
        RKD(): {"embedding"},
        CRD(width=3, negatives=16): {"crd_student", "crd_teacher"},
    }
    for loss, names in wanted.items():
        student, batch = case(4)
        found = leaves(student)
        value(loss, student, batch).backward()
        assert {name for name, leaf in found.items() if leaf.grad is not None} == names, loss
