"""Guides choose the samples for guided distillation (arXiv 2006.01683), as a mask over the batch.

The mask is made when targets are loaded, and passed to the loss as `Batch.guided`. A guide takes

    pred    (B,) integer: argmax of the live teacher's logits, -1 for a skipped image;
    logits  a function that returns the teacher's logits, (B, C), which may be costly to decode;
            only a guide that needs them calls it;
    labels  (B,) int64

and returns a (B,) bool. A skipped image (pred -1) is never guided, whatever its logits are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class TeacherCorrect:
    """Guided if pred_i == label_i: the paper's rule.

    It uses the stored argmax, not that of decoded logits, so it is exact with any codec.
    """

    def __call__(self, pred: Tensor, logits: Callable[[], Tensor], labels: Tensor) -> Tensor:
        return (pred == labels) & (pred >= 0)


@dataclass(frozen=True)
class TeacherLossBelow:
    """Guided if -log softmax(t_i)[label_i] < threshold (in nats, float32; t_i: teacher logits).

    This also admits samples where the label is not the teacher's argmax. For comparison, log(C) is
    the loss of a uniform prediction.
    """

    threshold: float

    def __call__(self, pred: Tensor, logits: Callable[[], Tensor], labels: Tensor) -> Tensor:
        loss = cross_entropy(logits().float(), labels, reduction="none")  # (B,)
        return (loss < self.threshold) & (pred >= 0)


Guide: TypeAlias = TeacherCorrect | TeacherLossBelow
ROWS = 8192  # samples per call in `guided_mask`


def guided_mask(
    guide: Guide, pred: Tensor, logits: Callable[[slice], Tensor], labels: Tensor
) -> Tensor:
    """(n,) bool for the n samples of `pred` and `labels`. `logits` gives those of some rows.

    Computed in parts, because the derived logits of a whole block may take gigabytes.
    """
    parts = [slice(start, start + ROWS) for start in range(0, len(pred), ROWS)]
    masks = [guide(pred[part], partial(logits, part), labels[part]) for part in parts]
    return torch.cat(masks) if masks else torch.zeros(0, dtype=torch.bool)
