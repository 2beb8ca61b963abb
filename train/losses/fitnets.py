"""FitNets (Romero et al., arXiv 1412.6550): a stage's output, regressed to the teacher's.

Shapes: B samples, C channels and H x W pixels in the teacher's stage.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.channels import robust
from train.losses.loss import Loss
from train.losses.map_matching import mean_square
from train.parts import Meeting, Part


@dataclass(frozen=True)
class FitNets(Loss):
    """sum_i |R(F_i) - G_i|^2 / (C H W count), over the teacher's `stage`, counted from 1.

    F_i, G_i: outputs of student and teacher for sample i; G_i: (C, H, W). R: a regressor that is
    trained along. With `beta` the differences are divided by the spread of their channel, and
    Huber's function h of RobustChannelDistillation replaces the square, as a squared error is
    dominated by a few images where the teacher's outputs have heavy tails.

    This is the joint form of RepDistiller and mdistiller, CE + 100 of this loss, with stage 2. The
    paper trains the hint first, alone. ResNet-34 -> ResNet-18, ImageNet: top-1 70.66, quoted by the
    README of the paper on channel distillation; its settings are not known. The convolution of R
    has no bias here, as BatchNorm follows, and R has no ReLU if the teacher's stages can be
    negative.

    Needs map{stage}, and spread with `beta`.
    """

    stage: int = 2
    beta: float | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({f"map{self.stage}"} | (set() if self.beta is None else {"spread"}))

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        mine = meeting.mine(self.stage)
        ours = (meeting.student.channels[mine], *meeting.student.maps[mine])
        theirs = meeting.shapes[f"map{self.stage}"]
        return {f"regressed{self.stage}": Part(mine, regressor(ours, theirs, meeting.signed))}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        ours = student.parts[f"regressed{self.stage}"].float()
        theirs = batch.targets[f"map{self.stage}"].float()
        if self.beta is None or ours.shape != theirs.shape:
            return mean_square(ours, theirs, batch)
        assert batch.fixed.spread is not None
        spread = batch.fixed.spread[self.stage - 1][:, None, None]  # (C, 1, 1)
        numbers = ours.shape[1:].numel()
        return robust(ours, theirs, spread, self.beta) / (numbers * batch.count)


def regressor(ours: tuple[int, ...], theirs: tuple[int, ...], signed: bool) -> nn.Module:
    """From maps of shape `ours`, (C, H, W), to those of shape `theirs`.

    Raises InputError if theirs are larger than ours, and not twice as large.
    """
    (width, *size), (wanted, *goal) = ours, theirs
    conv: nn.Module
    if size == [2 * side for side in goal]:
        conv = nn.Conv2d(width, wanted, kernel_size=3, stride=2, padding=1, bias=False)
    elif goal == [2 * side for side in size]:
        conv = nn.ConvTranspose2d(width, wanted, kernel_size=4, stride=2, padding=1, bias=False)
    elif all(mine >= side for mine, side in zip(size, goal, strict=True)):
        kernel = (1 + size[0] - goal[0], 1 + size[1] - goal[1])
        conv = nn.Conv2d(width, wanted, kernel_size=kernel, bias=False)
    else:
        raise InputError(
            f"a regressor makes maps smaller, or twice as large: got {size[0]} x {size[1]} pixels "
            f"from the student and {goal[0]} x {goal[1]} from the teacher; pair other stages with "
            f"--stages, or choose another student"
        )
    layers = [conv, nn.BatchNorm2d(wanted)]
    return nn.Sequential(*layers, *([] if signed else [nn.ReLU(inplace=True)]))
