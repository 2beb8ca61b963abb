"""What the student computes for losses beyond its logits, and the networks between which it does.

A *part* is a module that reads one output of the student, such as the map of a stage, and turns it
into what a loss compares with the teacher: an attention map, or a regression to the teacher's
width. A loss names its parts (`Loss.parts`), the student runs them in its forward pass, so that
autocast, DistributedDataParallel and the optimizer cover them, and the loss reads the results from
`StudentOutputs.parts`. Parts are trained with the student and left out of best.pt.

Shapes: C classes, D numbers of an embedding, C_s channels and H_s x W_s pixels of stage s.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from shared.errors import InputError
from shared.models.staged import StagedModel
from shared.targets.kinds import Facts
from train.pairing import Pairs

EMBEDDING = "embedding"
TARGET = "target:"  # followed by the name of a kind


@dataclass(frozen=True)
class Part:
    """`module`, and what it reads: the number of a stage of the student from 0, "embedding" for
    the input of the student's last layer, or "target:KIND" for what the teacher says."""

    reads: int | str
    module: nn.Module


@dataclass(frozen=True)
class Meeting:
    """Facts of a student and of the teacher whose targets it gets."""

    student: Facts
    head: nn.Linear | None  # the student's last layer
    channels: tuple[int, ...]  # C_s of the teacher's stages
    shapes: Mapping[str, tuple[int, ...]]  # kind of targets -> its shape a sample
    pairs: Pairs
    signed: bool  # whether the teacher's stages can be negative
    pooled: bool = True  # whether the last layers of both read the means of their last stages

    def mine(self, stage: int) -> int:
        """The student's stage, from 0, that meets the teacher's `stage`, counted from 1 as in the
        names of kinds.

        Raises InputError if none does.
        """
        for theirs, mine in self.pairs:
            if theirs == stage - 1:
                return mine
        met = ", ".join(str(theirs + 1) for theirs, _ in self.pairs) or "none"
        raise InputError(
            f"a loss of this recipe compares stage {stage} of the teacher, and no stage of the "
            f"student meets it: those that meet one are {met}; choose others with --stages"
        )


def facts_of_student(backbone: StagedModel, size: int) -> Facts:
    """Output sizes of the student for images of `size` pixels a side: it is run once."""
    training = backbone.training
    device = next(backbone.parameters()).device
    with torch.no_grad():
        run = backbone.eval().run(torch.zeros(2, 3, size, size, device=device))
    backbone.train(training)
    maps = tuple((stage.shape[2], stage.shape[3]) for stage in run.stages)
    return Facts(backbone.num_classes, backbone.channels, maps, backbone.embedding_width)
