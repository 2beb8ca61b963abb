"""The losses: the four of arXiv 2006.01683, and one for channel means with heavy tails.

A loss is a pure function of (student outputs, batch). It computes in float32 whatever the input
dtype, and returns a 0-dim float32 tensor: the sum over this process's samples divided by the
batch's count, so that the same code works for one process and for many (train/batch.py). `needs`
declares what a loss takes from the teacher: "logits", "channels", "spread" (of every channel over
the split, shared/targets/tails.py) and "guided" (the mask of train/guide.py). A loss that needs
"guided" is a mean over the guided samples; the log averages it in the same way.

Shapes: B samples, C classes, C_s channels in the teacher's stage s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, huber_loss, kl_div, log_softmax

from train.batch import Batch, StudentOutputs


@dataclass(frozen=True)
class CE:
    """Cross entropy with the labels: sum_i -log softmax(s_i)[label_i] / count.

    s_i: student logits of sample i, (C,).
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        return cross_entropy(student.logits.float(), batch.labels, reduction="sum") / batch.count


@dataclass(frozen=True)
class KD:
    """Knowledge distillation: T^2 sum_i KL(softmax(t_i / T) || softmax(s_i / T)) / count.

    s_i, t_i: logits of student and teacher for sample i, (C,). Hinton et al., arXiv 1503.02531.
    Raises ValueError if the two shapes differ.
    """

    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return _kl(student.logits, batch.targets["logits"], self.temperature) / batch.count


@dataclass(frozen=True)
class GuidedKD:
    """KD over the guided samples only, where the teacher is right (train/guide.py).

    T^2 sum_{i guided} KL(softmax(t_i / T) || softmax(s_i / T)) / guided_count, or 0 (in the graph,
    with zero gradients) if guided_count is 0. Raises ValueError if shapes differ.
    """

    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits", "guided"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None and batch.guided is not None
        rows = batch.guided[:, None]  # (B, 1)
        # Mask the inputs, not the result: with a masked result, an unguided row that is not finite
        # would still give NaN * 0 = NaN in the backward pass. Two rows of zeros have KL 0.
        total = _kl(
            torch.where(rows, student.logits, 0.0),
            torch.where(rows, batch.targets["logits"], 0.0),
            self.temperature,
        )
        count = total.new_zeros(()) + batch.guided_count  # on the device, without a copy
        # Without guided samples this is 0 / infinity, with gradients 0.
        return total / torch.where(count > 0, count, torch.inf)


@dataclass(frozen=True)
class ChannelDistillation:
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
class RobustChannelDistillation:
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
            # torch's Huber loss is x^2 / 2 near 0
            2 * huber_loss(a / spread, b / spread, reduction="sum", delta=self.beta)
            / (a.shape[1] * batch.count)
            for (a, b), spread in zip(_pairs(student, batch), _spread(student, batch), strict=True)
        ]  # fmt: skip
        return torch.stack(stages).sum()


class Loss(Protocol):
    """The interface of a loss; a loss of your own needs nothing else."""

    needs: ClassVar[frozenset[str]]

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor: ...


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 sum_i KL(softmax(t_i / T) || softmax(s_i / T)); logits (B, C) on both sides."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher have different classes: got (samples, classes) "
            f"{tuple(student.shape)} from the student and {tuple(teacher.shape)} from the teacher; "
            f"build the student for the classes of this teacher"
        )
    log_q = log_softmax(student.float() / temperature, dim=1)
    # Logarithms on both sides, so that a probability that underflows to 0 adds 0 * finite = 0
    # instead of 0 * log(0).
    log_p = log_softmax(teacher.float() / temperature, dim=1)
    return kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2


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
    assert batch.spread is not None
    if student.met is None:
        return list(batch.spread)
    return [batch.spread[stage] for stage in student.met.stages]


def _shapes(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "nothing"
