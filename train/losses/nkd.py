"""Normalised knowledge distillation: Yang et al., arXiv 2303.13005. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 71.96 (nkd.md of yzd-v/cls_KD 1e5d48f:
CE + NKD with gamma 1.5, T = 1, batches of 256; teacher and baseline of mmcls, 69.90).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes
from train.losses.others import is_label, log_softmax_of_others


@dataclass(frozen=True)
class TargetClass(Loss):
    """-sum_i p(t_i)_y log p(s_i)_y / count: cross entropy, weighted by what the teacher gives to
    the label y. p = softmax.

    NKD holds this term. WKD-L has it beside its transport cost, with a weight of its own.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        same_classes(student.logits, batch.targets["logits"])
        log_q = log_softmax(student.logits.float(), dim=1)
        log_p = log_softmax(batch.targets["logits"].float(), dim=1)
        rows = batch.labels[:, None]
        return -(log_p.gather(1, rows).exp() * log_q.gather(1, rows)).sum() / batch.count


@dataclass(frozen=True)
class NKD(Loss):
    """TargetClass - gamma T^2 sum_i sum_{k != y} q(t_i)_k log q(s_i)_k / count.

    q: softmax at T over the C - 1 classes other than the label y, so that the teacher's opinion of
    them counts alike however sure it is of y. A cross entropy: not 0 at the teacher's logits.
    Raises ValueError if the shapes of student and teacher differ.
    """

    gamma: float = 1.5
    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        target = TargetClass()(student, batch)
        assert batch.targets is not None
        label = is_label(student.logits, batch.labels)
        log_q = log_softmax_of_others(student.logits.float() / self.temperature, label)
        log_p = log_softmax_of_others(batch.targets["logits"].float() / self.temperature, label)
        other = -(log_p.exp() * log_q).sum() / batch.count  # log_q is 0 at the label
        return target + self.gamma * self.temperature**2 * other
