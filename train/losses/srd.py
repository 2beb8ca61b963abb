"""SRD, a simple recipe for distillation on embeddings (Miles and Mikolajczyk, AAAI 2024).

Understanding the Role of the Projector in Knowledge Distillation, arXiv 2303.11098; code
roymiles/Simple-Recipe-Distillation 31e8477. Shapes: B samples of the whole step, D_s and D_t
numbers in the embeddings of student and teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss
from train.parts import EMBEDDING, Meeting, Part

PART = "srd"
EPSILON = 1e-4  # of the BatchNorms, as in the public code
LEAST = 1e-12  # added to the sum, whose logarithm would be -infinity if both sides were equal


@dataclass(frozen=True)
class SRD(Loss):
    """log sum_ic (z_ic - y_ic)^4 over the whole step's batch.

    z, y: projected embedding of the student and embedding of the teacher, (B, D_t), both
    normalised by their mean and variance over the batch, per column: BatchNorm without weights. The
    projection is a learned linear layer (part "srd"), of equal widths, too. With a batch of one
    both sides are 0, and so is the gradient.

    ResNet-34 -> ResNet-18: 71.87 % with CE + 2 SRD + KD at T = 1 (readme of the public code;
    torchdistill's table quotes 71.63 %). There each GPU normalises its own part of the batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    relational: ClassVar[bool] = True

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        (wanted,) = meeting.shapes["embedding"]
        return {PART: Part(EMBEDDING, nn.Linear(meeting.student.embedding, wanted))}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        ours = _normalised(batch.whole(student.parts[PART].float()))
        theirs = _normalised(batch.whole(batch.targets["embedding"].float()))
        return ((ours - theirs).pow(4).sum() + LEAST).log()


def _normalised(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred * (centred.square().mean(0) + EPSILON).rsqrt()
