"""No loss makes the host wait for the device, in either direction."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.loss_cases import LOSSES, random_case
from tests.losses.embedding_cases import PER_SAMPLE, RELATIONAL, case
from tests.losses.map_cases import LOSSES as OF_MAPS
from tests.losses.map_cases import batch_of, maps, parts_of, student_maps
from tests.waits.meta import META, Waits, no_waits, on_meta
from train.batch import Batch, StudentOutputs
from train.losses import DIST, Loss
from train.memory import Memory


def inputs(loss: Loss) -> tuple[StudentOutputs, Batch]:
    if loss in OF_MAPS:
        return parts_of(loss, student_maps(loss, 3, 6), maps(5, 6)), batch_of(
            maps(5, 6), loss.needs
        )
    if loss in PER_SAMPLE or loss in RELATIONAL:
        student, batch = case(2)
        memory = deepcopy(batch.fixed.memory)
        assert memory is not None
        memory.steps = 0  # in its first step CRD finds its constants
        return student, replace(batch, fixed=replace(batch.fixed, memory=memory))
    return random_case(4)


def of_student(student: StudentOutputs) -> list[Tensor]:
    some = [student.logits, *student.channels, *student.parts.values()]
    return [*some, *([] if student.embedding is None else [student.embedding])]


@pytest.mark.parametrize(
    "loss", [*LOSSES, DIST(), DIST(0.5, 2.0, 4.0), *PER_SAMPLE, *RELATIONAL, *OF_MAPS], ids=repr
)
def test_no_loss_waits(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    student, batch = inputs(loss)
    for tensor in of_student(student):
        if tensor.is_leaf:
            tensor.requires_grad_()
    student, batch = on_meta(student), on_meta(batch)
    with no_waits(monkeypatch):
        for _ in range(2):
            value = loss(student, batch)
            value.backward()
    assert value.shape == () and value.device == META
    assert any(tensor.grad is not None for tensor in of_student(student))


ROWS = torch.arange(6.0, device=META)


@pytest.mark.parametrize(
    "waits",
    [
        lambda: ROWS.sum().item(),
        lambda: bool(ROWS.any()),
        lambda: ROWS[ROWS > 2],
        lambda: ROWS.masked_select(ROWS > 2),
        lambda: ROWS.clone().index_put_((ROWS > 2,), ROWS[0]),
        lambda: ROWS.nonzero(),
        lambda: ROWS.unique(),
        lambda: ROWS.repeat_interleave(ROWS.long()),
        lambda: ROWS.cpu(),
        lambda: torch.equal(ROWS, ROWS),
        lambda: torch.ones(2).to(META),
        lambda: ROWS.clone().copy_(torch.ones(6)),
        lambda: torch.tensor([1.0, 2.0], device=META),
    ],
)
def test_waits_are_found(waits: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_waits(monkeypatch), pytest.raises((Waits, RuntimeError, NotImplementedError)):
        waits()  # type: ignore[operator]


def test_what_does_not_wait_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    import shared.epochs.cached_views as user

    with no_waits(monkeypatch) as mode:
        there = user.moved(torch.ones(6), META)
        assert (there + 1).device == META and ROWS.where(ROWS > 2, there).shape == (6,)
        Memory(4, 2, 0, torch.device("cpu"))
    assert mode.copies == 1
