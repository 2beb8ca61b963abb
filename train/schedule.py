"""A schedule is a function of the epoch (counted from 0): no state, nothing to save or to resume.

    >>> weight = Steps(6.0, factor=0.5, milestones=(30, 60))
    >>> [weight(epoch) for epoch in (0, 29, 30, 60)]
    [6.0, 6.0, 3.0, 1.5]

`scaled(epochs, of)` is the same schedule for a run of `epochs` epochs where the recipe has `of`:
a milestone m moves to m * epochs / of, halves rounded up, but never to 0 from above, so that the
first epoch is what the recipe's first epoch is. Milestones of a very short run may coincide (each
still counts) or lie behind its end (they then never come). With epochs == of nothing moves.
"""

from dataclasses import dataclass, replace
from typing import Self, TypeAlias


@dataclass(frozen=True)
class Constant:
    """value, at every epoch."""

    value: float

    def __call__(self, epoch: int) -> float:
        return self.value

    def scaled(self, epochs: int, of: int) -> Self:
        return self


@dataclass(frozen=True)
class Steps:
    """value * factor ** (number of milestones m with epoch >= m)."""

    value: float
    factor: float
    milestones: tuple[int, ...]

    def __call__(self, epoch: int) -> float:
        return self.value * self.factor ** sum(epoch >= m for m in self.milestones)

    def scaled(self, epochs: int, of: int) -> Self:
        return replace(self, milestones=tuple(_moved(m, epochs, of) for m in self.milestones))


@dataclass(frozen=True)
class SwitchedOn:
    """0 before epoch `start`, `schedule` from there on."""

    schedule: Constant | Steps
    start: int

    def __call__(self, epoch: int) -> float:
        return self.schedule(epoch) if epoch >= self.start else 0.0

    def scaled(self, epochs: int, of: int) -> Self:
        """On for the last epoch at least: a run of one epoch has it on from the start.

        A short run would otherwise end with, for example, a classifier that no loss has trained.
        """
        assert self.start < of, f"a switch at epoch {self.start} never comes in {of} epochs"
        start = min(_moved(self.start, epochs, of), epochs - 1)
        return replace(self, schedule=self.schedule.scaled(epochs, of), start=start)


Schedule: TypeAlias = Constant | Steps | SwitchedOn


def _moved(milestone: int, epochs: int, of: int) -> int:
    rounded = (2 * milestone * epochs + of) // (2 * of)  # in integers: exact halves, rounded up
    return max(rounded, 1) if milestone > 0 else 0
