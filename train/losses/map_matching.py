"""The squared error between a stage's output and the teacher's, as it is.

Shapes: B samples, C channels and H x W pixels in the teacher's stage.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss
from train.parts import Meeting, Part


@dataclass(frozen=True)
class MapMatching(Loss):
    """sum_i |F_i - G_i|^2 / (C H W count), over the teacher's `stage`, counted from 1.

    F_i, G_i: outputs of student and teacher for sample i, (C, H, W). If their sizes differ, the
    larger one is averaged down to the smaller. There is no regressor: both must have C channels.

    With a student whose last stage is a projection to the teacher's, and whose head is the
    teacher's, this is the loss of SimKD (Chen et al., arXiv 2203.14001; code DefangChen/SimKD,
    weight 1 and no other loss). ResNet-34 -> ResNet-18, ImageNet: top-1 71.66, as quoted by NORM.

    Needs map{stage}.
    """

    stage: int = 4

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({f"map{self.stage}"})

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        mine = meeting.mine(self.stage)
        require_width(meeting, self.stage, mine)
        return {f"map{self.stage}": Part(mine, nn.Identity())}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        name = f"map{self.stage}"
        ours, theirs = student.parts[name].float(), batch.targets[name].float()
        size = min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3])
        return mean_square(_averaged(ours, size), _averaged(theirs, size), batch)


def mean_square(ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
    """sum_i mean (ours_i - theirs_i)^2 / count, over (B, ...) of one shape.

    Raises ValueError if the shapes differ, which broadcasting would hide.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the maps of student and teacher differ in shape: got {tuple(ours.shape)} from the "
            f"student and {tuple(theirs.shape)} from the teacher; build the student for this "
            f"teacher"
        )
    numbers = ours.shape[1:].numel()
    return mse_loss(ours.float(), theirs.float(), reduction="sum") / (numbers * batch.count)


def require_width(meeting: Meeting, stage: int, mine: int) -> None:
    """Raises InputError unless the student's stage `mine` is as wide as the teacher's `stage`."""
    ours, theirs = meeting.student.channels[mine], meeting.shapes[f"map{stage}"][0]
    if ours != theirs:
        raise InputError(
            f"a loss of this recipe compares maps without a regressor, for which they must have as "
            f"many channels: got {ours} from stage {mine + 1} of the student and {theirs} from "
            f"stage {stage} of the teacher; choose another student, or a loss like FitNets"
        )


def _averaged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else adaptive_avg_pool2d(maps, size)
