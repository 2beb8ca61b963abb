"""Plans of epochs that have all targets in memory, with the steps that a test wants."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.epochs.windows import EpochPlan, Epochs
from shared.records.manifest import Manifest


def whole_views(
    manifest: Manifest, steps: Callable[[int], Sequence[NDArray[np.int64]]]
) -> Callable[[int], EpochPlan]:
    """`steps`: the samples of each step of an epoch."""
    epochs = Epochs(manifest, np.arange(manifest.samples), [], manifest.samples, 0)

    def plan(epoch: int) -> EpochPlan:
        plan, wanted = epochs.plan(epoch), steps(epoch)
        count = len(wanted)
        ready, begin = plan.ready[:1].repeat(count), plan.begin[:1].repeat(count)
        return replace(plan, steps=wanted, ready=ready, begin=begin)

    return plan
