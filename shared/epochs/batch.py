"""One batch of an epoch: labels, and what the teacher said.

Shapes: B samples on this process.
"""

from dataclasses import dataclass, field

from torch import Tensor

from shared.targets.targets import Targets


@dataclass(frozen=True)
class EpochBatch:
    """Labels and the teacher's targets for B samples, and the counts by which means divide.

    The counts are those of the whole optimizer step divided by the number of processes, so that the
    averaged gradients equal those of one large batch. With one process they are B and guided.sum().
    A count that is computed on the device is a 0-dim tensor there, as reading it would make the
    host wait.
    """

    labels: Tensor  # (B,) int64
    targets: Targets | None  # None if nothing was asked of a teacher
    guided: Tensor | None  # (B,) bool: whether the teacher's logits may guide (guide.py)
    count: float | Tensor
    guided_count: float | Tensor
    # (B,) int64: the samples, by their place in the source; None if that was not asked for
    index: Tensor | None = field(default=None, kw_only=True)
    # B of every process in this step; None: not known here
    sizes: tuple[int, ...] | None = field(default=None, kw_only=True)
    # If views are mixed of two images (shared/pixels/mix.py), the second labels, (B,) int64, and
    # the weights of the first ones, (B,) float32.
    partner: Tensor | None = field(default=None, kw_only=True)
    share: Tensor | None = field(default=None, kw_only=True)
