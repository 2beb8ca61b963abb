"""What the epochs of a run read and use, counted from the step at which the run begins.

Pieces and steps are numbered through all epochs, so that one counter tells how far reading is, and
another how far a process is. Boxes, flips and the table of slots are kept for two epochs, the one
in use and the next, in two *halves* that epochs take in turn. A run whose views are all kept (one
view in host memory, two on a GPU) reads each of them once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from shared.distributed import World
from shared.epochs.windows import EpochPlan
from shared.records.manifest import Manifest

Samples = NDArray[np.int64]
Plans = Callable[[int], EpochPlan]


@dataclass(frozen=True)
class Part:
    """An epoch of a schedule. Its pieces and steps are numbered from `piece` and `step`."""

    epoch: int
    view: int
    place: int  # 0 for the first epoch of the schedule
    half: int  # where its boxes, flips and slots are
    plan: EpochPlan
    first: int  # the first step that is made
    step: int  # number of step `first`
    piece: int  # number of the first piece
    reads: bool  # False: what it uses was read for an earlier epoch
    keeps: bool  # what it reads is used by later epochs too
    world: World
    samples: int  # in the split

    @property
    def end_step(self) -> int:
        return self.step + len(self.plan.steps) - self.first

    @property
    def end_piece(self) -> int:
        return self.piece + (len(self.plan.pieces) if self.reads else 0)

    def ready(self, step: int) -> int:
        """The number of pieces that must be there before `step` of the epoch."""
        return self.piece + (int(self.plan.ready[step]) if self.reads else 0)

    @cached_property
    def _later(self) -> list[Samples]:
        return list(self.plan.steps[0 if self.keeps else self.first :])

    @cached_property
    def needed(self) -> NDArray[np.bool_]:
        """(N,) whether any process uses the sample."""
        return self._marked(self._later)

    @cached_property
    def needed_here(self) -> NDArray[np.bool_]:
        """(N,) whether a process of this machine uses it."""
        if self.world.local_size == self.world.size:
            return self.needed
        return self._marked([share_here(step, self.world) for step in self._later])

    def _marked(self, steps: list[Samples]) -> NDArray[np.bool_]:
        marked = np.zeros(self.samples, bool)
        if steps:
            marked[np.concatenate(steps)] = True
        return marked


class Schedule:
    """The epochs from `epoch` on, of which the first begins at its step `first`."""

    def __init__(
        self,
        plans: Plans,
        epoch: int,
        first: int,
        until: int,
        kept: int | None,
        world: World,
        manifest: Manifest,
    ) -> None:
        """`until`: the epochs of the run. `kept`: views that are all kept once they are read; None
        if an epoch's view is replaced by the next."""
        self._plans, self._until, self._kept = plans, until, kept
        self._world, self._samples, self._views = world, manifest.samples, manifest.views
        self._lock = Lock()  # the threads that read ask for parts, too
        self._parts = {0: self._part(epoch, 0, first, 0, 0)}
        self._start = epoch

    def part(self, place: int) -> Part | None:
        """The epoch at `place`, for a place from about the last one on; None after the last."""
        with self._lock:
            if self._start + place >= self._until and place > 0:
                return None
            while place not in self._parts:
                last = self._parts[max(self._parts)]
                self._parts[last.place + 1] = self._part(
                    last.epoch + 1, last.place + 1, 0, last.end_step, last.end_piece
                )
                self._parts.pop(last.place - 3, None)
            return self._parts[place]

    def _part(self, epoch: int, place: int, first: int, step: int, piece: int) -> Part:
        kept = self._kept
        return Part(
            epoch,
            epoch % self._views,
            place,
            place % 2 if kept is None else place % kept,
            self._plans(epoch),
            first,
            step,
            piece,
            reads=kept is None or place < kept,
            keeps=kept is not None,
            world=self._world,
            samples=self._samples,
        )


def share_here(batch: Samples, world: World) -> Samples:
    """The part of a step's batch that the processes of this machine have together.

    It is made of their parts, see order.process_share.
    """
    each, more = divmod(len(batch), world.size)
    here = world.ranks_here
    start, stop = (rank * each + min(rank, more) for rank in (here.start, here.stop))
    return batch[start:stop]
