"""Which samples the teacher's logits may guide: the mask of guided distillation (arXiv 2006.01683).

Made at load time from what the cache holds, and carried by the batch as a bool per sample
(`Batch.guided`), so that the loss itself never asks who is right. A guide is called with

    pred    (B,) integer: argmax of the live teacher's logits, -1 for a skipped image;
    logits  a function that returns the teacher's logits, (B, C): they may be costly to decode, so
            only a guide that looks at them calls it;
    labels  (B,) int64

and returns a (B,) bool. A skipped image (pred -1) is never guided, whatever its logits hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class TeacherCorrect:
    """Guided where pred_i == label_i: the paper's rule.

    It compares the stored argmax, not that of decoded logits, and so is exact under any codec.
    """

    def __call__(self, pred: Tensor, logits: Callable[[], Tensor], labels: Tensor) -> Tensor:
        return (pred == labels) & (pred >= 0)


@dataclass(frozen=True)
class TeacherLossBelow:
    """Guided where -log softmax(t_i)[label_i] < threshold (in nats, float32; t_i: teacher logits).

    Teacher and label need not agree fully: log(C) is the loss of a teacher that knows nothing.
    """

    threshold: float

    def __call__(self, pred: Tensor, logits: Callable[[], Tensor], labels: Tensor) -> Tensor:
        loss = cross_entropy(logits().float(), labels, reduction="none")  # (B,)
        return (loss < self.threshold) & (pred >= 0)


Guide: TypeAlias = TeacherCorrect | TeacherLossBelow
