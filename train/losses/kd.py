"""Knowledge distillation of logits, for all samples or for those that the teacher gets right.

Hinton et al., arXiv 1503.02531; for the guided form arXiv 2006.01683; for standardised logits Sun
et al., arXiv 2403.01427. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 71.37 for KD at T = 1 with weights 0.5
of CE and KD (torchdistill), 71.21 at T = 4 (hunto/DIST_KD); 71.42 for standardised logits
(sunshangquan/logit-standardization-KD f6e5aa5: CE + 9 KD at T = 2).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes


@dataclass(frozen=True)
class KD(Loss):
    """Knowledge distillation: T^2 sum_i KL(softmax(t_i / T) || softmax(s_i / T)) / count.

    s_i, t_i: logits of student and teacher for sample i, (C,); with `standardise` both become
    (x - mean(x)) / (std(x) + 1e-7) first, over the classes, with the standard deviation of C - 1
    degrees of freedom, so that the student need not have the scale of the teacher's logits. Raises
    ValueError if the two shapes differ.
    """

    temperature: float = 1.0
    standardise: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        total = kl(student.logits, batch.targets["logits"], self.temperature, self.standardise)
        return total / batch.count


@dataclass(frozen=True)
class GuidedKD(Loss):
    """KD over the guided samples only, where the teacher is right (shared/epochs/guide.py).

    T^2 sum_{i guided} KL(softmax(t_i / T) || softmax(s_i / T)) / guided_count, or 0 (in the graph,
    with zero gradients) if guided_count is 0. `standardise` as in KD. Raises ValueError if shapes
    differ.
    """

    temperature: float = 1.0
    standardise: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"logits", "guided"})
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None and batch.guided is not None
        rows = batch.guided[:, None]  # (B, 1)
        # Mask the inputs, not the result: with a masked result, an unguided row that is not finite
        # would still give NaN * 0 = NaN in the backward pass. Two rows of zeros have KL 0.
        total = kl(
            torch.where(rows, student.logits, 0.0),
            torch.where(rows, batch.targets["logits"], 0.0),
            self.temperature,
            self.standardise,
        )
        count = total.new_zeros(()) + batch.guided_count  # on the device, without a copy
        # Without guided samples this is 0 / infinity, with gradients 0.
        return total / torch.where(count > 0, count, torch.inf)


def kl(student: Tensor, teacher: Tensor, temperature: float, standardise: bool = False) -> Tensor:
    """T^2 sum_i KL(softmax(t_i / T) || softmax(s_i / T)); logits (B, C) on both sides."""
    same_classes(student, teacher)
    ours, theirs = student.float(), teacher.float()
    if standardise:
        ours, theirs = _standardised(ours), _standardised(theirs)
    log_q = log_softmax(ours / temperature, dim=1)
    # Logarithms on both sides, so that a probability that underflows to 0 adds 0 * finite = 0
    # instead of 0 * log(0).
    log_p = log_softmax(theirs / temperature, dim=1)
    total: Tensor = kl_div(log_q, log_p, reduction="sum", log_target=True)
    return total * temperature**2


def _standardised(logits: Tensor) -> Tensor:
    """(B, C) with mean 0 and standard deviation 1 in every row; 0 where a row is constant."""
    centred = logits - logits.mean(1, keepdim=True)
    # Tensor.std warns of a batch without samples, which a process may have in a step.
    norm: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    scaled: Tensor = centred / (norm / (logits.shape[1] - 1) ** 0.5 + 1e-7)
    return scaled
