"""The inputs of a loss: the student's outputs, and the batch with labels and the teacher's targets.

Shapes: B samples on this process, C classes, C_s channels in the teacher's stage s, D numbers in
the student's embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from torch import Tensor

from shared.distributed import World, gathered
from shared.epochs.batch import EpochBatch
from shared.targets.classes import ClassStatistics
from shared.targets.targets import Head, rows_of
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


NOTHING = Fixed()
ALONE = World()


@dataclass(frozen=True)
class Batch(EpochBatch):
    """A batch of an epoch, with what is the same in every step."""

    fixed: Fixed = NOTHING
    world: World = ALONE

    @staticmethod
    def of(found: EpochBatch, fixed: Fixed = NOTHING, world: World = ALONE) -> "Batch":
        return Batch(**vars(found), fixed=fixed, world=world)

    @staticmethod
    def with_targets(
        labels: Tensor, targets: Mapping[str, Tensor], fixed: Fixed = NOTHING
    ) -> "Batch":
        """A batch of a user's own loop over shared/cache.py. Means divide by its own samples."""
        guided = targets.get("guided")
        return Batch(
            labels,
            targets,
            guided,
            len(labels),
            0 if guided is None else guided.sum(),
            fixed,
            index=targets.get("index"),
            partner=targets.get("partner"),
            share=targets.get("share"),
        )

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
