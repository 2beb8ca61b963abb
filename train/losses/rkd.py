"""Relational knowledge distillation (Park et al., CVPR 2019, arXiv 1904.05068).

Shapes: B samples of the whole step, D_s and D_t numbers in the embeddings of student and teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.utils.checkpoint import checkpoint

from train.batch import Batch, StudentOutputs
from train.losses.embedded import LEAST_SQUARE, both, in_float32, unit
from train.losses.loss import Loss

BLOCK = 2**24  # numbers in the largest tensor that angles are computed with, 64 MiB


@dataclass(frozen=True)
class RKD(Loss):
    """distance sum_ij h(d_ij - e_ij) / B^2 + angle sum_ijk h(a_ijk - b_ijk) / B^3.

    d_ij: distance of the student's embeddings of samples i and j, divided by the mean over all
    pairs of two samples. a_ijk: cosine of the angle at sample i between j and k; 0 where two of
    them coincide. e, b: the same of the teacher, whose embeddings may have another width. h: the
    smooth L1 function, x^2 / 2 up to |x| = 1, then |x| - 1/2. Over the whole step's batch; 0 for a
    batch of one.

    The B^3 angles are computed for some of the samples i at a time, and once more in the backward
    pass, so that memory stays below about 0.5 GB whatever B is.

    25 and 50 are those of the public code (RepDistiller, mdistiller), which has no configuration
    for ImageNet. ResNet-34 -> ResNet-18: 71.34 % (table of the NORM paper, settings unknown).
    """

    distance: float = 25.0
    angle: float = 50.0
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    relational: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        ours, theirs = map(batch.whole, both(student, batch))
        with in_float32(ours):
            distances = smooth_l1_loss(_distances(ours), _distances(theirs))
            return self.distance * distances + self.angle * _angles(ours, theirs)


def _distances(rows: Tensor) -> Tensor:
    """(B, B): distances, divided by their mean over all pairs of two samples."""
    rows = rows - rows.mean(0)  # makes what follows more precise
    squares = rows.square().sum(1)
    between = squares[:, None] + squares - 2 * rows @ rows.T
    apart = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    found = torch.where(apart, between.clamp(min=LEAST_SQUARE), 1.0).sqrt() * apart
    return found / (found.sum() / max(1, len(rows) * (len(rows) - 1))).clamp(min=LEAST_SQUARE)


def _angles(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean over all (i, j, k) of the difference of the angles at i."""
    count = len(ours)
    most = max(count, ours.shape[1], theirs.shape[1])
    step = max(1, BLOCK // (count * most))
    found = [
        checkpoint(_angles_at, ours, theirs, slice(first, first + step), use_reentrant=False)
        for first in range(0, count, step)
    ]
    return torch.stack(found).sum() / count**3


def _angles_at(ours: Tensor, theirs: Tensor, some: slice) -> Tensor:
    """The sum over the samples i in `some`, and all j and k."""
    return smooth_l1_loss(_cosines(ours, some), _cosines(theirs, some), reduction="sum")


def _cosines(rows: Tensor, some: slice) -> Tensor:
    """(n, B, B): cosines of the angles at each of n samples, between all pairs."""
    directions = unit(rows - rows[some, None])  # (n, B, D)
    return directions @ directions.transpose(1, 2)
