"""Channel distillation (arXiv 2006.01683), and its form for channel means with heavy tails.

Shapes: B samples, C_s channels in the teacher's stage s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss


@dataclass(frozen=True)
class ChannelDistillation(Loss):
    """sum_s sum_i |a_is - b_is|^2 / (C_s count): mean squared difference, summed over the stages.

    a_is, b_is: spatial means of the connector's output and of the teacher's stage s for sample i,
    (C_s,). Raises ValueError if stages or widths differ.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"channels"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        stages = [
            (a - b).square().sum() / (a.shape[1] * batch.count) for a, b in _pairs(student, batch)
        ]
        return torch.stack(stages).sum()


@dataclass(frozen=True)
class RobustChannelDistillation(Loss):
    """Channel distillation that a few outlying images or high-variance channels do not dominate.

    sum_s sum_i h((a_is - b_is) / d_s) / (C_s count), where d_s, (C_s,), is the spread of every
    channel over the split (shared/targets/tails.py), and h is the Huber function: x^2 up to
    |x| = beta, then its tangent. a_is, b_is: as in ChannelDistillation.

    The means of an eval-mode teacher have heavy tails, which dominate a squared error, and channels
    that vary little count for almost nothing beside those that vary much. tests/bench/tails.py
    measures the cost of both. Raises ValueError if stages or widths differ.
    """

    beta: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"channels", "spread"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        stages = [
            robust(a, b, spread, self.beta) / (a.shape[1] * batch.count)
            for (a, b), spread in zip(_pairs(student, batch), _spread(student, batch), strict=True)
        ]
        return torch.stack(stages).sum()


def robust(ours: Tensor, theirs: Tensor, spread: Tensor, beta: float) -> Tensor:
    """sum h((ours - theirs) / spread), h: Huber's function, x^2 up to |x| = beta.

    `spread` is broadcast to the shape of the other two, which is the same.
    """
    # torch's Huber loss is x^2 / 2 near 0
    return 2 * huber_loss(ours / spread, theirs / spread, reduction="sum", delta=beta)


def _pairs(student: StudentOutputs, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """float32 means (B, C_s) of the student's connectors and of the teacher's stages they meet."""
    assert batch.targets is not None
    ours, theirs = student.channels, batch.targets.get("channels")
    widths = [stage.shape[1] for stage in ours]
    stages: Sequence[int] = range(len(ours))
    if student.met is not None:
        stages, widths = student.met.stages, list(student.met.widths)
    # Broadcasting would hide a mismatch and train on something else.
    if theirs is None or not ours or (len(ours[0]), sum(widths)) != tuple(theirs.shape):
        said = "nothing" if theirs is None else f"{tuple(theirs.shape)}, stages side by side,"
        raise ValueError(
            f"the student's connectors do not fit the teacher's stages and channels: got (samples, "
            f"channels) {_shapes(ours)} from the student and {said} from the teacher; build the "
            f"student for this teacher"
        )
    means = theirs.split(widths, dim=1)
    return [(a.float(), means[stage].float()) for a, stage in zip(ours, stages, strict=True)]


def _spread(student: StudentOutputs, batch: Batch) -> list[Tensor]:
    """(C_s,) for each stage that a connector meets."""
    assert batch.fixed.spread is not None
    if student.met is None:
        return list(batch.fixed.spread)
    return [batch.fixed.spread[stage] for stage in student.met.stages]


def _shapes(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "nothing"
