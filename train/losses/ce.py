"""Cross entropy with the labels."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from train.batch import Batch, StudentOutputs
from train.losses.loss import Loss


@dataclass(frozen=True)
class CE(Loss):
    """Cross entropy with the labels: -sum_i sum_c y_ic log softmax(s_i)[c] / count.

    s_i: student logits of sample i, (C,). y_i: 1 at label i, or with label smoothing e
    1 - e + e / C there and e / C elsewhere (Szegedy et al., arXiv 1512.00567). For a view that is
    mixed of two images, the cross entropies with both labels are added up with the labels' weights.
    """

    label_smoothing: float = 0.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        entropy = partial(
            cross_entropy, student.logits.float(), label_smoothing=self.label_smoothing
        )
        if batch.partner is None or batch.share is None:
            return entropy(batch.labels, reduction="sum") / batch.count
        own, other = (entropy(y, reduction="none") for y in (batch.labels, batch.partner))  # (B,)
        return (batch.share * own + (1 - batch.share) * other).sum() / batch.count
