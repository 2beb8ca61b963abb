"""Residual knowledge distillation (Gao et al., arXiv 2002.09168): a student mimics the teacher, and
an assistant learns what the student misses.

Shapes: B samples, C_s channels and H_s x W_s pixels in the teacher's stage s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss
from train.losses.map_matching import mean_square, require_width
from train.parts import Meeting, Part


@dataclass(frozen=True)
class ResidualKD(Loss):
    """sum_s sum_i (|S_is - T_is|^2 + |A_is - (T_is - S_is)|^2) / (C_s H_s W_s count), over the
    teacher's `stages`, counted from 1.

    S_is, A_is, T_is: outputs of student, assistant and teacher for sample i, (C_s, H_s, W_s). In
    the second term S is a constant: the assistant alone learns the residual. So the student is to
    be a network made of both, whose stages are those of S, followed by as many sums S + A.

    Our reading: what could be read of the paper are its abstract and a summary (S mimics T's
    feature maps, A learns the residual error between them, both are made by splitting one network),
    no public code was found, and its layers, formulas and weights are not known here. ResNet-34 ->
    ResNet-18, ImageNet, with attention transfer: top-1 71.54 (quoted by the README of the paper on
    channel distillation).

    Needs map{s} of its stages.
    """

    stages: tuple[int, ...] = (1, 2, 3, 4)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(f"map{stage}" for stage in self.stages)

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        half = len(meeting.student.channels) // 2
        found = {}
        for stage in self.stages:
            both = meeting.mine(stage)
            alone = both - half
            sizes = [
                (meeting.student.channels[mine], *meeting.student.maps[mine])
                for mine in (max(alone, 0), both)
            ]
            if alone < 0 or sizes[0] != sizes[1] or 2 * half != len(meeting.student.channels):
                raise InputError(
                    "ResidualKD needs a student made of two networks, whose stages are those of "
                    "the first, followed by as many sums of both: this student is not; choose "
                    "another with --student, or a recipe without ResidualKD"
                )
            require_width(meeting, stage, both)
            found[f"own_map{stage}"] = Part(alone, nn.Identity())
            found[f"map{stage}"] = Part(both, nn.Identity())
        return found

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        stages = []
        for stage in self.stages:
            theirs = batch.targets[f"map{stage}"].float()
            alone = student.parts[f"own_map{stage}"].float()
            both = student.parts[f"map{stage}"].float()
            stages.append(mean_square(alone, theirs, batch))
            # Without detach: the gradient that reaches S through the sum is cancelled by that of
            # the difference, so that only A learns from this term.
            assistant = both - alone
            stages.append(mean_square(assistant, theirs - alone.detach(), batch))
        return torch.stack(stages).sum()
