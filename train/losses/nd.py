"""ND: the student's embedding should point to the teacher's class centre, and be long.

Improving Knowledge Distillation via Regularizing Feature Norm and Direction, Wang et al., arXiv
2305.17007; code WangYZ1608/Knowledge-Distillation-via-ND fc6f3f9. Shapes: B samples, D_s and D_t
numbers in the embeddings of student and teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.linalg import vector_norm

from train.batch import Batch, StudentOutputs
from train.losses.embedded import LEAST_SQUARE, both_of_width, projection
from train.losses.loss import Loss
from train.parts import Meeting, Part

PART = "nd"


@dataclass(frozen=True)
class NormDirection(Loss):
    """sum_i [ 1 - f_i . c_i / max(|f_i|, |g_i|) ] / count.

    f_i, g_i: embeddings of student and teacher for sample i, (D_t,); that of the student through a
    learned linear layer (part "nd") if the widths differ. c_i: the mean of the teacher's embeddings
    over the class of sample i, divided by its length (shared/targets/classes.py).

    ResNet-34 -> ResNet-18: KD++ 71.98 % with CE + 2.5 KD + ND at T = 1, DKD++ 72.07 % with CE + 0.8
    TCKD + 0.5 NCKD + ND (readme of the public code). Over the first five epochs the weight of KD
    grows there, for DKD++ those of DKD and ND. For other widths the public code puts BatchNorm and
    dropout before the linear layer.

    Raises ValueError if the widths differ and no layer was made.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "centres"})
    hard_labels: ClassVar[bool] = True

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        return projection(PART, meeting)

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.fixed.classes is not None and batch.fixed.classes.centres is not None
        ours, theirs = both_of_width(PART, student, batch)
        centres = batch.fixed.classes.centres[batch.labels]  # (B, D_t)
        longer = torch.maximum(vector_norm(ours, dim=1), vector_norm(theirs, dim=1))
        towards = (ours * centres).sum(1) / longer.clamp(min=LEAST_SQUARE**0.5)
        return (1 - towards).sum() / batch.count
