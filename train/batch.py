"""What a loss sees: the student's outputs and the batch that they answer.

Shapes: B samples on this process, C classes, C_s channels of the teacher's stage s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.targets.targets import Targets


@dataclass(frozen=True)
class StudentOutputs:
    logits: Tensor  # (B, C)
    channels: tuple[Tensor, ...]  # (B, C_s) a stage: spatial means of the connectors; () if none


@dataclass(frozen=True)
class Batch:
    """Labels and teacher's targets of B samples, and the numbers that a mean over them divides by.

    The two counts are those of the whole optimizer step divided by the number of its parts
    (processes), so that the parts' averaged gradients equal those of one large batch. With one
    part they are B and guided.sum(). A count that only the device knows is a 0-dim tensor there:
    to read it would make the host wait.
    """

    labels: Tensor  # (B,) int64
    targets: Targets | None  # None where the recipe needs nothing from a teacher
    guided: Tensor | None  # (B,) bool: the teacher is right here, so its logits may guide
    count: float | Tensor
    guided_count: float | Tensor
    # Of the teacher's channels over the whole split, (C_s,) a stage; None where no loss needs it.
    spread: tuple[Tensor, ...] | None = None

    def divisor(self, needs: frozenset[str]) -> float | Tensor:
        """What a loss with these `needs` is a mean over: the guided samples, or all of them."""
        return self.guided_count if "guided" in needs else self.count

    def split(self, parts: int) -> "list[Batch]":
        """Up to `parts` batches of about B / parts samples, each dividing by the whole's counts."""
        sizes = [len(labels) for labels in self.labels.tensor_split(parts) if len(labels)]
        targets: list[Targets | None] = [None] * len(sizes)
        if self.targets is not None:
            split = zip(*(values.split(sizes) for values in self.targets.values()), strict=True)
            targets = [dict(zip(self.targets, part, strict=True)) for part in split]
        guided: tuple[Tensor | None, ...] = (None,) * len(sizes)
        if self.guided is not None:
            guided = torch.split(self.guided, sizes)
        return [
            Batch(*fields, self.count, self.guided_count, self.spread)
            for fields in zip(self.labels.split(sizes), targets, guided, strict=True)
        ]
