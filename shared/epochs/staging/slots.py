"""Which slots are free, and how many an epoch needs."""

import math

import numpy as np
from numpy.typing import NDArray

from shared.distributed import World
from shared.epochs.staging.schedule import Part, share_here
from shared.epochs.staging.store import Store
from shared.epochs.windows import EpochPlan

SLACK = 0.15  # slots beside those that an epoch needs at a time, so that reading is ahead of steps


def slots_here(plan: EpochPlan, world: World) -> int:
    """The slots of this machine, enough for the plan of any epoch of the run."""
    total = sum(len(step) for step in plan.steps)
    here = sum(len(share_here(step, world)) for step in plan.steps)
    needed = plan.capacity
    if here < total:
        needed = math.ceil(plan.capacity * here / total)
        if plan.capacity < total:  # which samples are resident is random: 10 standard deviations
            needed = min(plan.capacity, needed + 5 * math.isqrt(plan.capacity) + 1)
    return max(1, math.ceil((1 + SLACK) * needed))


def require_slots(part: Part, block: int, slots: int) -> None:
    """Fails if an epoch needs more slots at a time: its steps would wait for ever."""
    ends = np.concatenate([[0], np.cumsum(part.needed_here)])
    starts = np.array([p.block * block + p.rows.start for p in part.plan.pieces], np.int64)
    stops = starts + [len(p.rows) for p in part.plan.pieces]
    read = np.concatenate([[0], np.cumsum(ends[stops] - ends[starts])])
    steps = part.plan.steps[part.first :]
    used = np.cumsum([0, *(len(share_here(step, part.world)) for step in steps[:-1])])
    resident = read[part.plan.ready[part.first :]] - (0 if part.keeps else used)
    assert resident.max(initial=0) <= slots, "an epoch needs more slots than its plan says"


class FreeSlots:
    """The slots that hold nothing; for the process that reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._free = np.arange(store.slots)[::-1].copy()
        self.count = store.slots
        self._reserved = 0  # the slots below this have their memory

    def take(self, count: int) -> NDArray[np.int64]:
        """`count` slots in ascending order, with memory. There must be as many."""
        assert count <= self.count
        self.count -= count
        found = np.sort(self._free[self.count : self.count + count])
        if count and (stop := int(found[-1]) + 1) > self._reserved:
            self._store.reserve(self._reserved, stop)
            self._reserved = stop
        return found

    def give_back(self, slots: NDArray[np.int64]) -> None:
        self._free[self.count : self.count + len(slots)] = slots
        self.count += len(slots)
