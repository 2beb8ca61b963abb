"""CRD, contrastive representation distillation (Tian et al., ICLR 2020, arXiv 1910.10699).

Code: HobbitLong/RepDistiller b84f547; megvii-research/mdistiller a08d46f. Shapes: B samples of the
whole step, N of the split, K negatives, D numbers in the space where samples are compared.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from train.batch import Batch, StudentOutputs
from train.losses.embedded import in_float32, unit
from train.losses.loss import Loss
from train.memory import Memory
from train.parts import EMBEDDING, TARGET, Meeting, Part

STUDENT, TEACHER = "crd_student", "crd_teacher"  # the names of its parts


@dataclass(frozen=True)
class CRD(Loss):
    """sum_i [ l(u_i, V) + l(v_i, U) ] / B over the whole step's batch, where

        l(x, M) = -log P(x, M_i) / (P(x, M_i) + K/N)
                  - sum_j log (K/N) / (P(x, M_j) + K/N),    P(x, m) = exp(x.m / tau) / Z

    u_i, v_i: embeddings of student and teacher, through a learned linear layer each (parts
    "crd_student" and "crd_teacher", D = `width` numbers), divided by their lengths. U, V: such
    vectors of all N samples, as a memory keeps them (train/memory.py): each step mixes those of its
    samples into theirs, `momentum` to 1 - `momentum`. j: K = `negatives` random samples of other
    classes than i. Z: N times the mean of exp(x.m / tau) in the first step, one for each of the two
    l.

    ResNet-34 -> ResNet-18: 71.17 % with CE + 0.8 CRD (paper; mdistiller's crd.yaml).

    The public code draws K negatives for every sample, of other classes only. Here all samples of a
    step share K draws from all classes; those of a sample's own class do not count, and the sum
    over the others is scaled to K terms. The expectation is the same, and products with K vectors
    replace gathering B K of them (2.1 GB at B = 256). A sample that no step has had yet holds a
    random vector, and counts as of another class. The 1e-7 in the public denominators is left out.
    """

    width: int = 128
    negatives: int = 16384
    tau: float = 0.07
    momentum: float = 0.5
    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "memory"})
    relational: ClassVar[bool] = True
    hard_labels: ClassVar[bool] = True

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        (theirs,) = meeting.shapes["embedding"]
        return {
            STUDENT: Part(EMBEDDING, nn.Linear(meeting.student.embedding, self.width)),
            TEACHER: Part(TARGET + "embedding", nn.Linear(theirs, self.width)),
        }

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        memory = batch.fixed.memory
        assert memory is not None and batch.index is not None
        ours = unit(batch.whole(student.parts[STUDENT].float()))  # (B, D)
        theirs = unit(batch.whole(student.parts[TEACHER].float()))
        index, labels = batch.whole(batch.index), batch.whole(batch.labels)
        drawn = memory.draw(self.negatives)  # (K,)
        counts = memory.labels[drawn] != labels[:, None]  # (B, K)
        with in_float32(ours):
            sides = [
                self._side(memory, place, x, kept[index], kept[drawn], counts)
                for place, (x, kept) in enumerate(
                    ((ours, memory.teacher), (theirs, memory.student))
                )
            ]
        memory.enter(index, labels, ours, theirs, self.momentum)
        return torch.stack(sides).sum()

    def _side(
        self, memory: Memory, place: int, x: Tensor, own: Tensor, others: Tensor, counts: Tensor
    ) -> Tensor:
        """The mean of l(x_i, M). own: (B, D), the rows of M at i; others: (K, D)."""
        samples, (each, negatives) = len(memory.labels), counts.shape
        positive = (x * own).sum(1) / self.tau  # (B,)
        negative = x @ others.T / self.tau  # (B, K)
        scale = negatives / counts.sum(1).clamp(min=1)  # (B,)
        if memory.steps == 0:
            with torch.no_grad():
                rest = negative.masked_fill(~counts, -math.inf).logsumexp(1) + scale.log()
                mean = torch.cat([positive, rest]).logsumexp(0) - math.log(each * (negatives + 1))
                memory.log_sums[place] = mean + math.log(samples)
        # P / (P + K/N) = sigmoid(log P - log K/N), which no large P overflows
        middle = memory.log_sums[place] + math.log(negatives / samples)
        missed = softplus(middle - positive)
        mistaken = (softplus(negative - middle) * counts).sum(1) * scale
        return (missed + mistaken).mean()
