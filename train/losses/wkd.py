"""Wasserstein distance of logits, WKD-L: Lv et al., arXiv 2412.08139. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 72.49 (readme of JiamingLv/WKD 214cf88:
CE + TargetClass (nkd.py) + w WKDLogits with w = 15 (1 + cos(pi epoch / 100)), epochs from 1 to 100,
batches of 256).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes
from train.losses.others import is_label, others

EPS = 1e-8  # added to what a marginal is divided by


@dataclass(frozen=True)
class WKDLogits(Loss):
    """sum_i sum_jk F_i[j, k] c[j, k] / count: the cost of moving the student's probabilities of the
    classes other than the label onto the teacher's.

    F_i, (C, C): Sinkhorn's plan after `iterations` between q(s_i) and q(t_i), the softmax at T over
    the other classes, with entropy weight `eps`. c = 1 - exp(-kappa d), or d if kappa is 0, where
    d, (C, C), is the distance of two classes: 1 - linear CKA of the teacher's logits for "cka"
    (shared/targets/classes.py), 1 - cosine of the rows of its last layer for "fc". Not 0 at the
    teacher's logits, as the plan is blurred.

    The label has mass 0 on both sides, so one kernel exp(-c / eps) serves all samples, and the plan
    is never written out: 21 products of (B, C) and (C, C). The public code copies c for each
    sample, (B, C - 1, C - 1), with 1e-8 added to it. Raises ValueError if the shapes of student and
    teacher differ, or for another `cost`.
    """

    temperature: float = 2.0
    eps: float = 0.05
    iterations: int = 10
    kappa: float = 1.0
    cost: Literal["cka", "fc"] = "cka"
    hard_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.cost not in ("cka", "fc"):
            raise ValueError(f"the cost of WKDLogits must be cka or fc: got {self.cost!r}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"logits", "head" if self.cost == "fc" else "distance"})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        same_classes(student.logits, batch.targets["logits"])
        label = is_label(student.logits, batch.labels)
        # Autocast would round the products.
        with torch.autocast(student.logits.device.type, enabled=False):
            ours = (others(student.logits, label) / self.temperature).softmax(1)
            theirs = (others(batch.targets["logits"], label) / self.temperature).softmax(1)
            cost = self._cost(batch)
            kernel = (-cost / self.eps).exp()
            u = (~label).float() / (label.shape[1] - 1)
            for _ in range(self.iterations):
                v = theirs / (u @ kernel + EPS)
                u = ours / (v @ kernel.T + EPS)
            return ((u @ (kernel * cost)) * v).sum() / batch.count

    def _cost(self, batch: Batch) -> Tensor:
        """c, (C, C): rows for the student's classes, columns for the teacher's."""
        if self.cost == "fc":
            assert batch.fixed.head is not None
            rows = normalize(batch.fixed.head.weight.float(), dim=1)
            distance = (1 - rows @ rows.T).clamp(min=0)
        else:
            assert batch.fixed.classes is not None and batch.fixed.classes.distance is not None
            distance = batch.fixed.classes.distance
        return 1 - (-self.kappa * distance).exp() if self.kappa else distance
