"""Squared error between the embeddings, called "L2" by torchdistill.

Shapes: B samples, D_s and D_t numbers in the embeddings of student and teacher.
"""

from dataclasses import dataclass

from torch import Tensor

from train.batch import Batch, StudentOutputs
from train.losses.channels import robust
from train.losses.embedded import both_of_width, projection, require_spread, spread_of
from train.losses.loss import Loss
from train.parts import Meeting, Part

PART = "pooled"


@dataclass(frozen=True)
class L2(Loss):
    """sum_i |f_i - g_i|^2 / (D_t count).

    f_i: the student's embedding of sample i, (D_t,), through a learned linear layer (part
    "pooled") if D_s differs from D_t. g_i: the teacher's.

    With `beta`: sum_i h((f_i - g_i) / d) / (D_t count), the cure for heavy tails of
    RobustChannelDistillation (channels.py). d, (D_t,): the spread of the last stage's channels. h:
    Huber's function, x^2 up to |x| = beta, then its tangent.

    ResNet-34 -> ResNet-18: 71.08 % with CE + 15 L2 (torchdistill's configuration ce_l2, in its
    table of benchmarks, which quotes 70.90 % from others). torchdistill has neither the linear
    layer nor `beta`.

    Raises ValueError if the widths differ and no layer was made.
    """

    beta: float | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"embedding"} if self.beta is None else {"embedding", "spread"})

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        if self.beta is not None:
            require_spread(meeting)
        return projection(PART, meeting)

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        ours, theirs = both_of_width(PART, student, batch)
        if self.beta is None:
            total = (ours - theirs).square().sum()
        else:
            total = robust(ours, theirs, spread_of(batch), self.beta)
        return total / (ours.shape[1] * batch.count)
