"""Batches of a source that is sorted by class, from windows and from a full shuffle."""

import numpy as np
import pytest

from shared.epochs.class_mix import class_mix
from shared.epochs.windows import EpochPlan
from tests.epochs.large_rows import epochs_of, large_rows

SAMPLES, CLASSES, BATCH, WINDOW = 200_000, 200, 256, 20_000
LABELS = np.arange(SAMPLES) * CLASSES // SAMPLES
ROW = (64, 56, 56)  # map1 of a ResNet: 401 kB in fp16


def slow_mix(plan: EpochPlan) -> float:
    """Of every step."""
    found = sum(len(set(LABELS[step].tolist())) for step in plan.steps)
    expected = sum(CLASSES * (1 - (1 - 1 / CLASSES) ** len(step)) for step in plan.steps)
    return found / expected


@pytest.fixture(scope="module")
def plan() -> EpochPlan:
    return epochs_of(large_rows(SAMPLES, 8192, ROW), range(SAMPLES), WINDOW, BATCH).plan(0)


def test_windows_of_small_pieces_mix_classes_nearly_as_a_full_shuffle_does(
    plan: EpochPlan,
) -> None:
    assert len(plan.pieces) == SAMPLES // 16  # each of a single class, or two
    assert 0.97 < slow_mix(plan) <= 1
    assert class_mix(plan, LABELS) == pytest.approx(slow_mix(plan), abs=0.02)


def test_the_counts_of_classes_over_100_steps_are_those_of_a_full_shuffle(plan: EpochPlan) -> None:
    """In every tenth of an epoch: the shares of the classes differ by a few percent in all."""
    for start in range(0, len(plan.steps) - 100, 75):
        seen = np.bincount(LABELS[np.concatenate(plan.steps[start : start + 100])])
        assert len(seen) == CLASSES and seen.min() > 0
        assert abs(seen / seen.sum() - 1 / CLASSES).sum() / 2 < 0.2


def test_a_full_shuffle_has_all_and_whole_blocks_have_few() -> None:
    manifest = large_rows(SAMPLES, 8192, ROW)
    full = epochs_of(manifest, range(SAMPLES), 10 * SAMPLES, BATCH).plan(0)
    assert full.capacity == SAMPLES
    assert class_mix(full, LABELS) == pytest.approx(1, abs=0.02)
    # Blocks of 1000 rows have chunks of 125, so a window of 2,000 holds 16 pieces.
    blocks = large_rows(SAMPLES, 1000, (2048, 32, 32))
    few = epochs_of(blocks, range(SAMPLES), 2_000, BATCH).plan(0)
    assert class_mix(few, LABELS) < 0.5
