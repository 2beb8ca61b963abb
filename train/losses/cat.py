"""CAT-KD, class attention transfer (Guo et al., arXiv 2304.12777): where in the image the network
sees each class.

Shapes: B samples, C classes, D channels of a network's last stage.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, linear

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss
from train.losses.map_matching import mean_square
from train.parts import Meeting, Part

GRID = 4


@dataclass(frozen=True)
class CATKD(Loss):
    """sum_i |a_i - b_i|^2 / (16 C count).

    a_i, b_i: class activation maps of student and teacher for sample i, (16, C): their last layer,
    without its bias, applied to the mean of each of 4 x 4 cells of their last stage's output. A
    linear layer and a mean commute, so that the teacher's are exact from the kind grid4. The
    student's last layer is its own and learns from this loss, too.

    The authors' code (GzyAftermath/CAT-KD) has weight 0.5 beside CE, 4 x 4 cells for ResNet-34 ->
    ResNet-18 on ImageNet: top-1 71.26 (from the paper, as remembered in LOSSES.md; not seen). Its
    student has a convolution without bias for a last layer, as has its teacher, which loses the
    bias of its weights; here both keep their bias in the logits.

    Needs grid4 and head. Both networks must have a linear last layer that reads the means of the
    last stage.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grid4", "head"})

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        if meeting.head is None or not meeting.pooled:
            raise InputError(
                "CAT-KD needs a student and a teacher whose last layers are linear and read the "
                "means of their last stages: here one does not; choose others, or a recipe without "
                "CAT-KD"
            )
        last = len(meeting.student.channels) - 1
        return {"cams": Part(last, ClassMaps(meeting.head))}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None and batch.fixed.head is not None
        means = batch.targets["grid4"].float()[:, 0]
        theirs = linear(_cells(means), batch.fixed.head.weight.float())
        return mean_square(student.parts["cams"], theirs, batch)


class ClassMaps(nn.Module):
    """(B, D, H, W) -> (B, 16, C), by the student's own last layer.

    The layer is the backbone's, so it is kept where torch does not look for modules: registered
    here as well, its parameters would be in the state dict twice.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self._head = (head,)

    def forward(self, maps: Tensor) -> Tensor:
        return linear(_cells(adaptive_avg_pool2d(maps.float(), GRID)), self._head[0].weight)


def _cells(means: Tensor) -> Tensor:
    """(B, D, 4, 4) -> (B, 16, D)."""
    return means.flatten(2).transpose(1, 2)
