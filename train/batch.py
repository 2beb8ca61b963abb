"""The inputs of a loss: the student's outputs, and the batch with labels and the teacher's targets.

Shapes: B samples on this process, C classes, C_s channels in the teacher's stage s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.targets.targets import Targets


@dataclass(frozen=True)
class Met:
    """Which of the teacher's stages the connectors meet, where it is not each in turn."""

    stages: tuple[int, ...]  # one a connector
    widths: tuple[int, ...]  # C_s of all the teacher's stages


@dataclass(frozen=True)
class StudentOutputs:
    logits: Tensor  # (B, C)
    channels: tuple[Tensor, ...]  # (B, C_s) per stage: spatial means of the connectors; () if none
    met: Met | None = None  # None: all stages of the teacher, in order


@dataclass(frozen=True)
class Batch:
    """Labels and the teacher's targets for B samples, and the counts by which means divide.

    The counts are those of the whole optimizer step divided by the number of processes, so that the
    averaged gradients equal those of one large batch. With one process they are B and guided.sum().
    A count that is computed on the device is a 0-dim tensor there, as reading it would make the
    host wait.
    """

    labels: Tensor  # (B,) int64
    targets: Targets | None  # None if the recipe needs nothing from a teacher
    guided: Tensor | None  # (B,) bool: whether the teacher's logits may guide (train/guide.py)
    count: float | Tensor
    guided_count: float | Tensor
    # Spread of the teacher's channels over the split, (C_s,) per stage; None if no loss needs it.
    spread: tuple[Tensor, ...] | None = None

    def divisor(self, needs: frozenset[str]) -> float | Tensor:
        """The number of samples in the mean of a loss with these `needs`: guided, or all."""
        return self.guided_count if "guided" in needs else self.count

    def split(self, parts: int) -> "list[Batch]":
        """Up to `parts` batches of about B / parts samples, each with the counts of the whole."""
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
