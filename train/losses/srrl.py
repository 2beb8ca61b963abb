"""SRRL: the student's features, read by the teacher's last layer (Yang et al., ICLR 2021).

Knowledge Distillation via Softmax Regression Representation Learning, openreview ZzwDy_wiWv; code
jingyang2017/KD_SRRL d2e802f. Shapes: B samples, C classes, D numbers in the teacher's embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from shared.models.staged import channel_means
from train.batch import Batch, StudentOutputs
from train.losses.channels import robust
from train.losses.embedded import in_float32, require_spread, spread_of
from train.losses.loss import Loss
from train.parts import Meeting, Part
from train.student import connector

PART = "srrl"


class MeanConnector(nn.Module):
    """(B, C_s, H, W) of a stage -> (B, D): spatial means of a 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, width: int, wanted: int, signed: bool) -> None:
        super().__init__()
        self.connector = connector(width, wanted, signed)

    def forward(self, maps: Tensor) -> Tensor:
        return channel_means(self.connector(maps))


@dataclass(frozen=True)
class SRRL(Loss):
    """sum_i [ |g_i - f_i|^2 / D + head_weight |W g_i - W f_i|^2 / C ] / count.

    g_i: spatial means of the connector's output for sample i, (D,); the connector is part "srrl",
    on the student's stage that meets the teacher's last one. f_i: the teacher's embedding. W: the
    teacher's last layer, (C, D), whose bias cancels.

    With `beta`, the cure for heavy tails of RobustChannelDistillation (channels.py): both squares
    become Huber's function, x^2 up to |x| = beta, of differences divided by their spread. That of
    the embedding is d, (D,), of the last stage's channels; that of logit c follows from it,
    (sum_j W_cj^2 d_j^2)^(1/2), if channels vary independently.

    ResNet-34 -> ResNet-18: 71.73 % with CE + this loss (readmes of TTM, ND and NORM). The public
    code takes the teacher's logits where W f_i stands, which is the same, but logits in a cache are
    defined only up to a constant. `beta` is not in the public code.
    """

    head_weight: float = 1.0
    beta: float | None = None

    @property
    def needs(self) -> frozenset[str]:
        found = frozenset({"embedding", "head"})
        return found if self.beta is None else found | {"spread"}

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        if self.beta is not None:
            require_spread(meeting)
        mine = meeting.mine(len(meeting.channels))
        (wanted,) = meeting.shapes["embedding"]
        module = MeanConnector(meeting.student.channels[mine], wanted, meeting.signed)
        return {PART: Part(mine, module)}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None and batch.fixed.head is not None
        ours, theirs = student.parts[PART].float(), batch.targets["embedding"].float()
        weight = batch.fixed.head.weight  # (C, D)
        difference = ours - theirs
        with in_float32(difference):
            of_logits = difference @ weight.T  # (B, C)
        spread: Sequence[Tensor | None] = (None, None)
        if self.beta is not None:
            d = spread_of(batch)
            spread = (d, (weight * d).square().sum(1).sqrt().clamp(min=1e-12))
        feature, head = (
            self._error(values, of) / (values.shape[1] * batch.count)
            for values, of in zip((difference, of_logits), spread, strict=True)
        )
        return feature + self.head_weight * head

    def _error(self, difference: Tensor, spread: Tensor | None) -> Tensor:
        if self.beta is None or spread is None:
            return difference.square().sum()
        return robust(difference, difference.new_zeros(()).expand_as(difference), spread, self.beta)
