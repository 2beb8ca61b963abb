"""Transformed teacher matching: Zheng and Yang, arXiv 2402.11148. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 72.19 (readme of zkxufo/TTM fe457b3,
trained with torchdistill). The exponent and the weight of that run are in the paper's appendix
only, which we could not read. The CIFAR-100 examples of that code: CE + 45 TTM with exponent 0.1,
and CE + 4 WTTM with exponent 0.2 beside CRD.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes


@dataclass(frozen=True)
class WTTM(Loss):
    """sum_i Z_i KL(r_i / Z_i || softmax(s_i)) / count.

    r_i = softmax(t_i)^exponent, (C,), and Z_i = sum_k r_ik, so that r_i / Z_i is the teacher's
    softmax at the temperature 1 / exponent; the student has no temperature. Z_i goes from 1, if the
    teacher is sure of one class, to C^(1 - exponent), if all classes are alike to it. TTM, without
    `weighted`, leaves the factor Z_i out. Raises ValueError if the shapes of student and teacher
    differ.
    """

    exponent: float
    weighted: bool = True
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        same_classes(student.logits, batch.targets["logits"])
        log_q = log_softmax(student.logits.float(), dim=1)
        log_r = self.exponent * log_softmax(batch.targets["logits"].float(), dim=1)
        log_z = log_r.logsumexp(1, keepdim=True)  # (B, 1)
        each = kl_div(log_q, log_r - log_z, reduction="none", log_target=True).sum(1, keepdim=True)
        return (each * log_z.exp() if self.weighted else each).sum() / batch.count
