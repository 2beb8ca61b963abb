"""The inputs of a loss: the student's outputs, and the batch with labels and the teacher's targets.

Shapes: B samples on this process, C classes, C_s channels in the teacher's stage s, D numbers in
the student's embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from shared.device import moved
from shared.distributed import World, gathered
from shared.targets.classes import ClassStatistics
from shared.targets.targets import Head, Targets, rows_of
from train.memory import Memory


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
    embedding: Tensor | None = None  # (B, D): what the student's last layer reads
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # what its parts say (train/parts.py)


@dataclass(frozen=True)
class Fixed:
    """What losses need of the teacher that is the same in every step; None if no loss needs it."""

    spread: tuple[Tensor, ...] | None = None  # of its channels over the split, (C_s,) per stage
    head: Head | None = None  # its last layer, on the device
    classes: ClassStatistics | None = None  # on the device
    memory: Memory | None = None  # what a loss keeps from step to step: this alone changes

    def index_on(self, device: torch.device, index: Tensor) -> Tensor | None:
        """The samples of a batch on the device, for the memory; None if there is none."""
        return None if self.memory is None else moved(index, device)


NOTHING = Fixed()
ALONE = World()


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
    fixed: Fixed = NOTHING
    # (B,) int64: the samples, by their place in the source; None if no loss needs it
    index: Tensor | None = None
    world: World = ALONE
    sizes: tuple[int, ...] | None = None  # B of every process in this step; None: not known here
    # If views are mixed of two images (shared/pixels/mix.py), the second labels, (B,) int64, and
    # the weights of the first ones, (B,) float32.
    partner: Tensor | None = None
    share: Tensor | None = None

    @property
    def main_labels(self) -> Tensor:
        """(B,) int64: the labels with the larger weights."""
        if self.partner is None or self.share is None:
            return self.labels
        return self.labels.where(self.share >= 0.5, self.partner)

    def divisor(self, needs: frozenset[str]) -> float | Tensor:
        """The number of samples in the mean of a loss with these `needs`: guided, or all."""
        return self.guided_count if "guided" in needs else self.count

    def whole(self, rows: Tensor) -> Tensor:
        """(B, ...) of this process -> the rows of the whole step, those of process 0 first.

        Gradients reach this process's rows alone, times the number of processes, because processes
        average their gradients: the result is that of one process with all the rows.
        """
        return gathered(rows, self.world, self.sizes)

    def split(self, parts: int) -> "list[Batch]":
        """Up to `parts` batches of about B / parts samples, each with the counts of the whole."""
        ends = list(accumulate(len(labels) for labels in self.labels.tensor_split(parts)))
        pieces = [slice(start, end) for start, end in pairwise([0, *ends]) if end > start]
        return [self._piece(rows) for rows in pieces]

    def _piece(self, rows: slice) -> "Batch":
        return replace(
            self,
            labels=self.labels[rows],
            targets=None if self.targets is None else rows_of(self.targets, rows),
            guided=None if self.guided is None else self.guided[rows],
            index=None if self.index is None else self.index[rows],
            partner=None if self.partner is None else self.partner[rows],
            share=None if self.share is None else self.share[rows],
        )
