"""Improved Kullback-Leibler divergence: Cui et al., arXiv 2305.13948. Shapes: B samples, C classes.

Published top-1 of ResNet-18 with ResNet-34 as its teacher: 71.91 (DKLv1/KD-dkl of jiequancui/DKL
c5e8ad2: CE + IKL with alpha 1, beta 0.5, T = 1, batches of 512, learning rate 0.2; its warm-up of
one epoch is over before the first step, as it counts epochs from 1).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss, same_classes


@dataclass(frozen=True)
class IKL(Loss):
    """(beta sum_i W_i - alpha sum_i sum_k p(t_i)_k log p(s_i)_k) / count, p = softmax at T.

    W_i = 1/4 sum_jk ((t_ij - t_ik) - (s_ij - s_ik))^2 P_j P_k, where P, (C,), is the prior of the
    label y of sample i: the teacher's mean softmax over the class (shared/targets/classes.py). The
    temperature is for the cross entropy alone.

    W_i is computed from C numbers instead of C^2: with d = t_i - s_i and m its mean under P,
    W_i = 1/2 (sum_k P_k) sum_k P_k (d_k - m)^2. The public code sums the prior up during an epoch
    and uses it in the next, with a uniform one in the first; here it is that of a view of the cache
    from the start. Raises ValueError if the shapes of student and teacher differ.
    """

    alpha: float = 1.0
    beta: float = 0.5
    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits", "prior"})
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None and batch.fixed.classes is not None
        assert batch.fixed.classes.prior is not None
        same_classes(student.logits, batch.targets["logits"])
        ours, theirs = student.logits.float(), batch.targets["logits"].float()
        prior = batch.fixed.classes.prior[batch.labels]  # (B, C)
        total = prior.sum(1, keepdim=True)
        d = theirs - ours
        m = (prior * d).sum(1, keepdim=True) / total
        apart = 0.5 * (total * prior * (d - m).square()).sum()
        p = softmax(theirs / self.temperature, dim=1)
        entropy = -(p * log_softmax(ours / self.temperature, dim=1)).sum()
        return (self.beta * apart + self.alpha * entropy) / batch.count
