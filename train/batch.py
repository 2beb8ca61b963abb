"""What a loss sees: the student's outputs and the batch that they answer.

Shapes: B samples on this process, C classes, C_s channels of the teacher's stage s.
"""

from dataclasses import dataclass

from torch import Tensor

from shared.targets import Targets


@dataclass(frozen=True)
class StudentOutputs:
    logits: Tensor  # (B, C)
    channels: tuple[Tensor, ...]  # (B, C_s) a stage: spatial means of the connectors; () if none


@dataclass(frozen=True)
class Batch:
    """Labels and teacher's targets of B samples, and the numbers that a mean over them divides by.

    The two counts are those of the whole optimizer step divided by the number of its parts
    (processes), so that the parts' averaged gradients equal those of one large batch. With one
    part they are B and guided.sum().
    """

    labels: Tensor  # (B,) int64
    targets: Targets | None  # None where the recipe needs nothing from a teacher
    guided: Tensor | None  # (B,) bool: the teacher is right here, so its logits may guide
    count: float
    guided_count: float
