"""Attention transfer (Zagoruyko and Komodakis, arXiv 1612.03928): where in the image a stage is
active.

Shapes: B samples, C_s channels and P_s = H_s W_s pixels in the teacher's stage s.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss
from train.parts import Meeting, Part


@dataclass(frozen=True)
class AT(Loss):
    """sum_s sum_i |a_is - b_is|^2 / (P_s count), over the teacher's `stages`, counted from 1.

    a_is, b_is: attention maps of student and teacher for sample i, (P_s,): for every pixel the mean
    over the channels of the squared output, then divided by the L2 norm of the map. That is the
    loss of the authors' code, with weight 1000 (the formula in the paper is a norm, not squared).

    Needs attention{s} of its stages. ResNet-34 -> ResNet-18, ImageNet: top-1 70.70 with all four
    stages (README of szagoruyko/attention-transfer, which with its two GPUs has twice the weight),
    70.90 with stages 3 and 4 (torchdistill).

    Where the sizes of maps differ, public code averages the larger output down to the smaller one
    before it squares. The student's is treated like that. A larger map of the teacher is in the
    cache only as attention, which is averaged instead and divided by its norm again.
    """

    stages: tuple[int, ...] = (3, 4)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(f"attention{stage}" for stage in self.stages)

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        found = {}
        for stage in self.stages:
            mine = meeting.mine(stage)
            height, width = meeting.student.maps[mine]
            (theirs,) = meeting.shapes[f"attention{stage}"]
            pooled = None
            if height * width != theirs:
                side, own = _side(theirs), _side(height * width)
                if side is None or own is None:
                    raise InputError(
                        f"attention maps of different sizes are compared only if they are squares: "
                        f"in stage {stage} the student's has {height} x {width} pixels and the "
                        f"teacher's {theirs}; choose other stages, or another student"
                    )
                pooled = side if side < own else None
            found[f"attention{stage}"] = Part(mine, AttentionMap(pooled))
        return found

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        stages = []
        for stage in self.stages:
            ours = student.parts[f"attention{stage}"].float()
            theirs = _fitted(batch.targets[f"attention{stage}"].float(), ours.shape[1])
            stages.append((ours - theirs).square().sum() / (ours.shape[1] * batch.count))
        return torch.stack(stages).sum()


class AttentionMap(nn.Module):
    """(B, C, H, W) -> float32 (B, H W), or (B, side^2) if the maps are averaged down first."""

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self._side = side

    def forward(self, maps: Tensor) -> Tensor:
        if self._side is not None:
            maps = adaptive_avg_pool2d(maps.float(), self._side)
        squares: Tensor = _MeanSquares.apply(maps)
        return normalize(squares.flatten(1), dim=1)


class _MeanSquares(torch.autograd.Function):
    """(B, C, H, W) of any precision -> float32 (B, H, W), the mean over channels of the squares.

    Written by hand so that neither direction makes a second tensor of the size of the maps, in
    float32 or otherwise, beside the gradient itself.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        norms = torch.linalg.vector_norm(maps, dim=1, dtype=torch.float32)
        means: Tensor = norms.square_().div_(maps.shape[1])
        return means

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (maps,) = ctx.saved_tensors
        factors = gradients[0].unsqueeze(1) * (2 / maps.shape[1])
        # Computed in float32, then rounded once to the precision of the maps.
        return torch.mul(maps, factors, out=torch.empty_like(maps))


def _fitted(theirs: Tensor, pixels: int) -> Tensor:
    """The teacher's attention (B, P) averaged down to `pixels`, if it has more."""
    if theirs.shape[1] == pixels:
        return theirs
    side, own = _side(theirs.shape[1]), _side(pixels)
    if side is None or own is None or own > side:
        raise ValueError(
            f"the attention maps of student and teacher differ: got {pixels} pixels from the "
            f"student and {theirs.shape[1]} from the teacher; build the student for this teacher"
        )
    smaller = adaptive_avg_pool2d(theirs.unflatten(1, (1, side, side)), own)
    return normalize(smaller.flatten(1), dim=1)


def _side(pixels: int) -> int | None:
    """The side of a square of so many pixels; None if it cannot be one."""
    side = isqrt(pixels)
    return side if side * side == pixels else None
