"""Schedules: functions of the epoch (counted from 0), without state that would need saving.

    >>> weight = Steps(6.0, factor=0.5, milestones=(30, 60))
    >>> [weight(epoch) for epoch in (0, 29, 30, 60)]
    [6.0, 6.0, 3.0, 1.5]

`scaled(epochs, of)` is the schedule for a run of `epochs` epochs, if the recipe has `of`. A
milestone m moves to m * epochs / of, with halves rounded up, but a milestone above 0 never moves to
0, so the first epoch stays that of the recipe. In a very short run milestones may coincide (each
still counts) or lie beyond the end (they are never reached). A warm-up of few epochs may shrink to
none. With epochs == of nothing changes.

`peak` is the value that a schedule starts from, or warms up to; `peaking_at(value)` is the same
schedule with another one.
"""

import math
from dataclasses import dataclass, replace
from typing import Self, TypeAlias


@dataclass(frozen=True)
class Constant:
    """value, in every epoch."""

    value: float

    def __call__(self, epoch: int) -> float:
        return self.value

    def scaled(self, epochs: int, of: int) -> Self:
        return self

    @property
    def peak(self) -> float:
        return self.value

    def peaking_at(self, value: float) -> Self:
        return replace(self, value=value)


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

    @property
    def peak(self) -> float:
        return self.value

    def peaking_at(self, value: float) -> Self:
        return replace(self, value=value)


@dataclass(frozen=True)
class Cosine:
    """floor + (value - floor) * (1 + cos(pi * epoch / epochs)) / 2, and floor from `epochs` on.

    Loshchilov and Hutter, arXiv 1608.03983, without restarts.
    """

    value: float
    epochs: int  # of the whole decay, usually those of the run
    floor: float = 0.0

    def __call__(self, epoch: int) -> float:
        share = (1 + math.cos(math.pi * min(epoch / self.epochs, 1.0))) / 2
        return self.floor + (self.value - self.floor) * share

    def scaled(self, epochs: int, of: int) -> Self:
        return replace(self, epochs=max(_moved(self.epochs, epochs, of), 1))

    @property
    def peak(self) -> float:
        return self.value

    def peaking_at(self, value: float) -> Self:
        return replace(self, value=value)


@dataclass(frozen=True)
class SwitchedOn:
    """0 before epoch `start`, `schedule` from then on."""

    schedule: "Schedule"
    start: int

    def __call__(self, epoch: int) -> float:
        return self.schedule(epoch) if epoch >= self.start else 0.0

    def scaled(self, epochs: int, of: int) -> Self:
        """Stays on in the last epoch at least, so a run of one epoch has it on from the start.

        Otherwise a short run might, for example, never train the classifier.
        """
        assert self.start < of, f"a switch at epoch {self.start} never comes in {of} epochs"
        start = min(_moved(self.start, epochs, of), epochs - 1)
        return replace(self, schedule=self.schedule.scaled(epochs, of), start=start)

    @property
    def peak(self) -> float:
        return self.schedule.peak

    def peaking_at(self, value: float) -> Self:
        return replace(self, schedule=self.schedule.peaking_at(value))


@dataclass(frozen=True)
class WarmUp:
    """min((epoch + 1) / epochs, 1) * schedule: rises linearly, and is whole in epoch epochs - 1."""

    schedule: "Schedule"
    epochs: int

    def __call__(self, epoch: int) -> float:
        return min((epoch + 1) / self.epochs, 1.0) * self.schedule(epoch)

    def scaled(self, epochs: int, of: int) -> Self:
        length = max(_moved(self.epochs, epochs, of), 1)
        return replace(self, schedule=self.schedule.scaled(epochs, of), epochs=length)

    @property
    def peak(self) -> float:
        return self.schedule.peak

    def peaking_at(self, value: float) -> Self:
        return replace(self, schedule=self.schedule.peaking_at(value))


Schedule: TypeAlias = Constant | Steps | Cosine | SwitchedOn | WarmUp


def _moved(milestone: int, epochs: int, of: int) -> int:
    rounded = (2 * milestone * epochs + of) // (2 * of)  # integers, so that halves are exact
    return max(rounded, 1) if milestone > 0 else 0
