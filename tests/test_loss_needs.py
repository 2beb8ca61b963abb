"""What losses declare to need, and the shapes that they refuse."""

import math
from collections.abc import Callable

import pytest
import torch

from tests.loss_cases import make_batch
from train.batch import Batch, StudentOutputs
from train.losses import CE, KD, ChannelDistillation, GuidedKD, Loss, RobustChannelDistillation


def test_needs() -> None:
    assert CE.needs == frozenset()
    assert KD.needs == {"logits"}
    assert GuidedKD.needs == {"logits", "guided"}
    assert ChannelDistillation.needs == {"channels"}
    assert RobustChannelDistillation.needs == {"channels", "spread"}


def test_ce_asks_nothing_of_a_teacher() -> None:
    batch = Batch(torch.tensor([1]), targets=None, guided=None, count=1.0, guided_count=0.0)
    assert CE()(StudentOutputs(torch.zeros(1, 4), ()), batch).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("ours", "theirs", "got"),
    [
        ([3], [3, 4], "(2, 3) from the student and (2, 7)"),
        ([3, 4], [3], "(2, 3), (2, 4) from the student and (2, 3)"),
        ([3, 5], [3, 4], "(2, 3), (2, 5) from the student and (2, 7)"),
        ([1], [3], "(2, 1) from the student and (2, 3)"),  # would broadcast
        ([], [3], "nothing from the student and (2, 3)"),
        ([], [0], "nothing from the student and (2, 0)"),
    ],
)
@pytest.mark.parametrize("loss", [ChannelDistillation(), RobustChannelDistillation()], ids=repr)
def test_channel_distillation_refuses_other_stages(
    loss: Loss, ours: list[int], theirs: list[int], got: str
) -> None:
    student = StudentOutputs(torch.zeros(2, 5), tuple(torch.zeros(2, c) for c in ours))
    channels = tuple(torch.zeros(2, c) for c in theirs)
    batch = make_batch(
        torch.tensor([0, 1]), torch.zeros(2, 5), channels, guided=torch.tensor([True, True])
    )
    with pytest.raises(ValueError) as error:
        loss(student, batch)
    assert str(error.value) == (
        "the student's connectors do not fit the teacher's stages and channels: got (samples, "
        f"channels) {got}, stages side by side, from the teacher; build the student for this "
        "teacher"
    )


@pytest.mark.parametrize("kind", [KD, GuidedKD])
@pytest.mark.parametrize("classes", [1, 1000])
def test_kd_refuses_other_classes(kind: Callable, classes: int) -> None:
    batch = make_batch(
        torch.tensor([0, 1]), torch.zeros(2, classes), (), guided=torch.tensor([True, True])
    )
    with pytest.raises(ValueError) as error:
        kind()(StudentOutputs(torch.zeros(2, 10), ()), batch)
    assert str(error.value) == (
        "student and teacher have different classes: got (samples, classes) (2, 10) from "
        f"the student and (2, {classes}) from the teacher; build the student for the classes of "
        "this teacher"
    )
