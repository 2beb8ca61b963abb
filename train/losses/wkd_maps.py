"""WKD-F, Wasserstein distance between features (Lv et al., arXiv 2412.08139): mean and standard
deviation of the last stage's channels in 4 x 4 cells.

Shapes: B samples, C channels of the teacher's last stage.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.losses.channels import robust
from train.losses.loss import Loss
from train.parts import Meeting, Part

GRID = 4
HIDDEN = 256  # channels inside the regressor
EPSILON = 1e-5


@dataclass(frozen=True)
class WKDMaps(Loss):
    """sum_i (2 |m_i - n_i|^2 + |d_i - e_i|^2) / (16 count).

    m_i, n_i: means of student and teacher for sample i over the pixels of a cell, (C, 4, 4); d_i,
    e_i: sqrt(v + 1e-5), v: the unbiased variance of those pixels. The student's are those of
    R(F_i), F_i: its last stage's output, R: convolutions 1x1 to 256 channels, 3x3, 1x1 to C, then
    BatchNorm and ReLU (none if the teacher's stages can be negative).

    The cells are those of adaptive pooling, and overlap. The kind grid4 has the deviation with the
    variance divided by the number n of pixels; times n / (n - 1) it is the unbiased one. `side`:
    pixels a side of the teacher's last stage, which give n and which grid4 does not tell; None: as
    many as the student's. A cell of one pixel, whose unbiased variance is 0 / 0, has variance 0.

    With `beta`, 2 |m - n|^2 becomes 2 h((m - n) / spread), h: Huber's function, as in
    RobustChannelDistillation, because squares of heavy-tailed means are dominated by a few images.

    The authors' code (JiamingLv/WKD) has weight 0.02 0.5 (1 + cos(pi epoch / 100)), its epoch
    counted from 1, beside CE, batch 256; ResNet-34 -> ResNet-18, ImageNet: top-1 72.50 (its
    README). There R runs in float32 under autocast.

    Needs grid4, and spread with `beta`.
    """

    beta: float | None = None
    side: int | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"grid4"} | (set() if self.beta is None else {"spread"}))

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        mine = meeting.mine(len(meeting.channels))
        height, width = meeting.student.maps[mine]
        if self.side is None and height != width:
            raise InputError(
                f"WKDMaps needs to know how many pixels a side the teacher's last stage has, and "
                f"the stage of the student that meets it is no square: got {height} x {width}; set "
                f"its field side"
            )
        found = _regressor(meeting.student.channels[mine], meeting.channels[-1], meeting.signed)
        return {"regressed_for_cells": Part(mine, found)}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        maps = student.parts["regressed_for_cells"].float()
        theirs = batch.targets["grid4"].float()
        if theirs.shape[1:] != (2, maps.shape[1], GRID, GRID):
            raise ValueError(
                f"the regressed maps do not fit the teacher's cells: got {tuple(maps.shape)} from "
                f"the student and {tuple(theirs.shape)} from the teacher; build the student for "
                f"this teacher"
            )
        mean = adaptive_avg_pool2d(maps, GRID)
        # The formula of the kind grid4, so that equal maps have equal cells.
        variance = (adaptive_avg_pool2d(maps.square(), GRID) - mean.square()).clamp(min=0)
        factors = [
            unbiased(side, maps.device) for side in (maps.shape[3], self.side or maps.shape[3])
        ]
        ours_deviation = (variance * factors[0] + EPSILON).sqrt()
        their_deviation = (theirs[:, 1].square() * factors[1] + EPSILON).sqrt()
        deviations = mse_loss(ours_deviation, their_deviation, reduction="sum")
        if self.beta is None:
            means = mse_loss(mean, theirs[:, 0], reduction="sum")
        else:
            assert batch.fixed.spread is not None
            spread = batch.fixed.spread[-1][:, None, None]  # (C, 1, 1)
            means = robust(mean, theirs[:, 0], spread, self.beta)
        return (2 * means + deviations) / (GRID * GRID * batch.count)


def unbiased(side: int, device: torch.device) -> Tensor:
    """(4, 4): n / (n - 1) for every cell of n pixels of a map of `side` pixels a side; 0 if n is 1.

    Adaptive pooling begins cell i at floor(i side / 4) and ends it at ceil((i + 1) side / 4).
    """
    cell = torch.arange(GRID, device=device)
    sides = ((cell + 1) * side + GRID - 1) // GRID - cell * side // GRID
    pixels = (sides[:, None] * sides[None, :]).float()
    return torch.where(pixels > 1, pixels / (pixels - 1).clamp(min=1), 0.0)


def _regressor(width: int, wanted: int, signed: bool) -> nn.Module:
    layers = [
        nn.Conv2d(width, HIDDEN, kernel_size=1),
        nn.Conv2d(HIDDEN, HIDDEN, kernel_size=3, padding=1),
        nn.Conv2d(HIDDEN, wanted, kernel_size=1, bias=False),  # BatchNorm takes a bias away
        nn.BatchNorm2d(wanted),
    ]
    return nn.Sequential(*layers, *([] if signed else [nn.ReLU(inplace=True)]))
