"""Rows that are kept on a GPU, with host memory in its place: the same batches, read as often."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.distributed import World
from shared.epochs.cached_views import CachedViews
from shared.epochs.staging import device_views, views
from shared.store.opening import open_cache
from tests.small_cache import make_cache, make_labels, make_manifest
from tests.staging.slow_batches import reference
from tests.staging.staged_batches import BATCH, counted, make_recipe, plans_of

CPU = torch.device("cpu")
EPOCHS = 5


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(there: Tensor, start: int, rows: NDArray[Any], device: torch.device) -> None:
        there[start : start + len(rows)] = torch.from_numpy(rows)

    monkeypatch.setattr(device_views, "copy_aside", copy)
    monkeypatch.setattr(views, "home_of_views", lambda device, _: torch.device("cuda"))
    monkeypatch.setattr(views, "MOST_THREADS", 1)


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (3, (0, 0)),
        (2, (1, 4)),
        pytest.param(1, (0, 0), marks=pytest.mark.slow),
        pytest.param(2, (0, 0), marks=pytest.mark.slow),
        pytest.param(3, (1, 4), marks=pytest.mark.slow),
    ],
)
def test_batches(tmp_path: Path, number: int, at: tuple[int, int]) -> None:
    """Two views are kept. With three, one is written over in every epoch; slots hold a part."""
    make_cache(tmp_path, make_manifest(samples=61, block=8, views=number))
    cache = open_cache(tmp_path, "train")
    reads, plan = counted(cache), lru_cache(plans_of(cache, BATCH).plan)
    labels = torch.from_numpy(make_labels(61))
    read = CachedViews(cache, make_recipe(EPOCHS), labels, True, CPU, plan)
    steps = []
    for epoch in range(at[0], EPOCHS):
        first = at[1] if epoch == at[0] else 0
        read.begin(epoch, first)
        for step in range(first, len(plan(epoch).steps)):
            index = plan(epoch).steps[step]
            (expected,) = reference(tmp_path, World(), 1 << 20, [(epoch, step)])
            batch = read.batch(step, torch.from_numpy(index))
            assert batch.targets is not None
            for name, values in batch.targets.items():
                assert torch.equal(values, expected[name])
            assert batch.guided is not None and torch.equal(batch.guided, expected["guided"])
            assert np.array_equal(read.boxes(step, index)[0], expected["box"])
            read.done(step)
            steps.append((epoch, step))
    read.close()
    epochs = EPOCHS - at[0]
    times = [
        1 if number < 3 else sum(e % 3 == v for e in range(at[0], EPOCHS)) for v in range(number)
    ]
    assert len(steps) == 7 * epochs - at[1]
    found = Counter(path.split("/c/")[1].split("/")[0] for path in reads)
    assert found == {str(v): 8 * 5 * times[v] for v in range(number)}
