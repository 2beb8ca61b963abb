"""Decoupled knowledge distillation: Zhao et al., arXiv 2203.08679. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 71.70 (readme of
megvii-research/mdistiller a08d46f: CE + DKD with alpha 1, beta 0.5, T = 1, batches of 512, learning
rate 0.2; its warm-up of one epoch is over before the first step, as it counts epochs from 1).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div, logsigmoid

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes
from train.losses.others import is_label, log_softmax_of_others, others


@dataclass(frozen=True)
class DKD(Loss):
    """T^2 sum_i (alpha TCKD_i + beta NCKD_i) / count.

    TCKD_i: KL between (p_y, 1 - p_y) of teacher and student, p = softmax(logits / T), y the label.
    NCKD_i: KL between teacher and student of the softmax at T over the C - 1 other classes.
    With beta = 1 - p_y of the teacher and alpha = 1 it would be KD.

    mdistiller subtracts 1000 from the label's logit instead of leaving it out, and takes logarithms
    of probabilities, which are NaN once one of them underflows. Raises ValueError if the shapes of
    student and teacher differ.
    """

    alpha: float = 1.0
    beta: float = 0.5
    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        same_classes(student.logits, batch.targets["logits"])
        ours = student.logits.float() / self.temperature
        theirs = batch.targets["logits"].float() / self.temperature
        label = is_label(ours, batch.labels)
        target = _bernoulli_kl(_lead(theirs, batch.labels, label), _lead(ours, batch.labels, label))
        other = kl_div(
            log_softmax_of_others(ours, label),
            log_softmax_of_others(theirs, label),
            reduction="sum",
            log_target=True,
        )
        total = self.alpha * target + self.beta * other
        return total * self.temperature**2 / batch.count


def _lead(logits: Tensor, labels: Tensor, label: Tensor) -> Tensor:
    """(B,): log(p_y / (1 - p_y)), which stays exact where p_y rounds to 0 or 1."""
    return logits.gather(1, labels[:, None])[:, 0] - others(logits, label).logsumexp(1)


def _bernoulli_kl(p: Tensor, q: Tensor) -> Tensor:
    """sum_i KL between the distributions of yes and no whose log odds are p_i and q_i."""
    yes = p.sigmoid() * (logsigmoid(p) - logsigmoid(q))
    no = torch.sigmoid(-p) * (logsigmoid(-p) - logsigmoid(-q))
    return (yes + no).sum()
