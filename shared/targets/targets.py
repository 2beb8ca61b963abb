"""The teacher's outputs for a batch of views: named tensors, one per kind (kinds.py).

Shapes: B samples, C classes, D numbers in the embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from shared.device import moved

# Name of a kind -> (B, ...) float32. "logits" are defined up to a constant per row, which softmax,
# argmax and every loss here ignore and the codec `half` makes use of.
Targets: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Head:
    """The teacher's last layer: logits == linear(embedding, weight, bias), in float32."""

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)

    def to(self, device: torch.device) -> "Head":
        return Head(moved(self.weight, device), moved(self.bias, device))


def rows_of(targets: Targets, rows: Tensor | slice) -> dict[str, Tensor]:
    """The targets of the given rows."""
    return {name: values[rows] for name, values in targets.items()}


def on_cpu(targets: Targets) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in targets.items()}
