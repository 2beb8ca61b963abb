"""Distillation from a stronger teacher: Huang et al., arXiv 2205.10536. Shapes: B samples of the
whole step, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 72.07 (readme of hunto/DIST_KD 2418f18:
CE + 2 DIST with beta = gamma = T = 1, batches of 256).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes

EPS = 1e-8  # added to the product of the two norms


@dataclass(frozen=True)
class DIST(Loss):
    """T^2 (beta (1 - mean_i r(Y_s[i, :], Y_t[i, :])) + gamma (1 - mean_k r(Y_s[:, k], Y_t[:, k]))).

    Y: softmax(logits / T) of student and teacher for the whole step's batch, (B, C). r: Pearson's
    correlation, sum(a b) / (|a| |b| + 1e-8) of the centred vectors. The first sum compares the
    classes of a sample, the second the samples for a class, so the value depends on who shares a
    batch. The 1e-8 is that of the public code and counts: a class that no sample of the batch is
    likely to have has norms of about that size, and adds 1 to the second sum whatever the student
    says. In a batch of one the second part is 1.

    Raises ValueError if the shapes of student and teacher differ.
    """

    beta: float = 1.0
    gamma: float = 1.0
    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    relational: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        same_classes(student.logits, batch.targets["logits"])
        ours = (batch.whole(student.logits.float()) / self.temperature).softmax(1)
        theirs = (batch.whole(batch.targets["logits"].float()) / self.temperature).softmax(1)
        inter = 1 - _correlation(ours, theirs, dim=1).mean()
        intra = 1 - _correlation(ours, theirs, dim=0).mean()
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
    return (a * b).sum(dim) / (norms + EPS)
