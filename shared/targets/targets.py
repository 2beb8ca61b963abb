"""What the teacher says about a batch of views.

Shapes: B samples, C classes, C_s channels of stage s (64, 128, 256, 512 for ResNet-18 and -34).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """Everything that any loss of arXiv 2006.01683 needs from a teacher.

    `logits` are defined up to one constant a row: softmax, argmax and every loss here are blind to
    it, and the codec `half` uses that freedom.
    """

    logits: Tensor  # (B, C)
    channels: tuple[Tensor, ...]  # (B, C_s) a stage: spatial means of its output after ReLU


@dataclass(frozen=True)
class Head:
    """The teacher's last layer: logits == linear(channels[-1], weight, bias), in float32."""

    weight: Tensor  # (C, C_4)
    bias: Tensor  # (C,)

    def to(self, device: torch.device) -> "Head":
        return Head(self.weight.to(device), self.bias.to(device))
