"""How well the batches of an epoch mix the classes, compared with those of a full shuffle."""

import numpy as np
from numpy.typing import NDArray

from shared.epochs.windows import EpochPlan

STEPS = 64  # that are looked at


def class_mix(plan: EpochPlan, labels: NDArray[np.int64]) -> float:
    """Distinct classes in a batch, as a share of those that are expected in a full shuffle.

    A mean over up to STEPS steps of the plan.
    """
    chosen = np.linspace(0, len(plan.steps) - 1, min(STEPS, len(plan.steps))).astype(int)
    _, counts = np.unique(labels[plan.still_needed(0)], return_counts=True)
    absent = 1 - counts / counts.sum()  # (classes,) probability that a sample is of another class
    found = expected = 0.0
    for step in chosen:
        batch = plan.steps[step]
        found += len(np.unique(labels[batch]))
        expected += float((1 - absent ** len(batch)).sum())
    return found / expected
