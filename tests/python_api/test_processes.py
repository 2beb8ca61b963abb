"""Several processes share each step, and a loop goes on in the middle of an epoch."""

from pathlib import Path

import pytest
import torch

from shared.cache import TeacherCache
from tests.processes import finish, start_world
from tests.python_api.conftest import SAMPLES, Made

SCRIPT = "tests/python_api/epoch_of_processes.py"


def test_a_resumed_epoch_has_the_same_tail(made: Made, store: str) -> None:
    whole = list(TeacherCache(made(store)).loader(epoch=1, batch_size=8))
    with TeacherCache(made(store)) as again:
        loader = again.loader(epoch=1, batch_size=8, start=2)
        tail = list(loader)
        assert len(loader) == len(tail) == len(whole) - 2
        assert list(again.loader(epoch=1, batch_size=8, start=len(whole))) == []
    for (pixels, labels, targets), (expected, labels_then, then) in zip(
        tail, whole[2:], strict=True
    ):
        assert torch.equal(pixels, expected) and torch.equal(labels, labels_then)
        assert all(torch.equal(values, then[name]) for name, values in targets.items())


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_by_argument(made: Made, store: str, size: int) -> None:
    parts = [
        list(
            TeacherCache(made(store)).loader(
                epoch=0, batch_size=9, rank=rank, world_size=size, workers=0
            )
        )
        for rank in range(size)
    ]
    assert len({len(steps) for steps in parts}) == 1
    index = torch.cat([targets.index for steps in parts for _, _, targets in steps])
    assert len(index) == len(index.unique()) == SAMPLES
    if store == "zarr":  # each step is that of one process, cut into parts
        alone = TeacherCache(made(store)).loader(epoch=0, batch_size=9)
        for (_, _, expected), *own in zip(alone, *parts, strict=True):
            together = torch.cat([targets["index"] for _, _, targets in own])
            assert torch.equal(together, expected.index)


def test_connected_processes(made: Made, store: str, tmp_path: Path) -> None:
    finish(start_world(2, SCRIPT, made(store), tmp_path))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [step[:2] for step in ranks[0]] == [step[:2] for step in ranks[1]]
    for epoch, least in ((0, SAMPLES), (1, 1)):
        index = torch.cat([step[2] for steps in ranks for step in steps if step[0] == epoch])
        assert len(index) == len(index.unique()) and least <= len(index) <= SAMPLES
    views = {e: TeacherCache(made(store)).dataset(view=e) for e in (0, 1)}
    for epoch, _, index, labels, logits in ranks[0]:
        there = {int(t.index): (label, t.logits) for _, label, t in views[epoch]}
        for row, sample in enumerate(index.tolist()):
            assert int(labels[row]) == there[sample][0]
            assert torch.equal(logits[row], there[sample][1])
