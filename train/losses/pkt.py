"""PKT, probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv 1803.10837).

Shapes: B samples of the whole step, D_s and D_t numbers in the embeddings of student and teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from train.batch import Batch, StudentOutputs
from train.losses.embedded import both, in_float32, unit
from train.losses.loss import Loss

EPSILON = 1e-7  # added to the probabilities, as in the public code


@dataclass(frozen=True)
class PKT(Loss):
    """sum_ij p_ij log(p_ij / q_ij) / B^2 over the whole step's batch.

    p_ij = (1 + cos(g_i, g_j)) / 2, divided by its sum over j, for the teacher's embeddings g; q_ij
    in the same way for the student's. The widths may differ.

    In the public code (RepDistiller, mdistiller) the weight is 30,000, at a batch of 64 on
    CIFAR-100. Neither has a configuration for ImageNet, and no number for ResNet-34 -> ResNet-18
    was found. There each GPU compares the samples of its own part of the batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    relational: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        ours, theirs = both(student, batch)
        q = _neighbours(batch.whole(ours)) + EPSILON
        p = _neighbours(batch.whole(theirs))
        return (p * ((p + EPSILON) / q).log()).mean()


def _neighbours(rows: Tensor) -> Tensor:
    """(B, B): how likely each sample's neighbour is each of the others; rows sum to 1."""
    directions = unit(rows)
    with in_float32(rows):
        similar = (directions @ directions.T + 1) / 2
    return similar / similar.sum(1, keepdim=True)
