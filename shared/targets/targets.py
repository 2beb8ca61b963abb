"""What the teacher says about a batch of views: named tensors, one a kind (kinds.py).

Shapes: B samples, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

# The name of a kind -> (B, ...) float32. "logits" are defined up to one constant a row: softmax,
# argmax and every loss here are blind to it, and the codec `half` uses that freedom.
Targets: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Head:
    """The teacher's last layer: logits == linear(embedding, weight, bias), in float32."""

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)

    def to(self, device: torch.device) -> "Head":
        return Head(self.weight.to(device), self.bias.to(device))


def rows_of(targets: Targets, rows: Tensor | slice) -> dict[str, Tensor]:
    """Some of the B samples."""
    return {name: values[rows] for name, values in targets.items()}


def on_cpu(targets: Targets) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in targets.items()}
