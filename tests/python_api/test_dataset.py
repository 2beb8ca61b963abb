"""The map-style Dataset has what the loader gives, alone and under a DataLoader with workers."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from shared.cache import TeacherCache, TeacherTargets
from tests.python_api.conftest import SAMPLES, VIEWS, Made

Sample = tuple[Tensor, int, TeacherTargets]


def by_index(batches: Iterator[tuple[Tensor, Tensor, TeacherTargets]]) -> dict[int, Sample]:
    found = {}
    for pixels, labels, targets in batches:
        for row, index in enumerate(targets.index.tolist()):
            own = TeacherTargets({name: v[row] for name, v in targets.items()}, targets.stages)
            found[index] = pixels[row], int(labels[row]), own
    return found


def require_same(mine: dict[int, Sample], theirs: dict[int, Sample]) -> None:
    assert sorted(mine) == sorted(theirs) and len(mine) == SAMPLES
    for index, (pixels, label, targets) in mine.items():
        expected_pixels, expected_label, expected = theirs[index]
        assert torch.equal(pixels, expected_pixels) and label == expected_label
        assert set(targets) == set(expected)
        for name, values in targets.items():
            assert torch.equal(values, expected[name]), name


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("zarr", 1),
        ("webdataset", 1),
        pytest.param("zarr mixed", 0, marks=pytest.mark.slow),
        pytest.param("webdataset mixed", 0, marks=pytest.mark.slow),
    ],
)
def test_every_sample(made: Made, name: str, view: int) -> None:
    cache = TeacherCache(made(name))
    dataset = cache.dataset(view=view)
    assert len(dataset) == SAMPLES == len(cache) - 1
    index = [int(targets.index) for _, _, targets in dataset]
    assert index == sorted(index)
    mine = {int(targets.index): (pixels, label, targets) for pixels, label, targets in dataset}
    theirs = by_index(iter(cache.loader(epoch=view + VIEWS, batch_size=8)))
    require_same(mine, theirs)
    assert torch.equal(dataset[-1][0], dataset[SAMPLES - 1][0])
    with pytest.raises(IndexError):
        dataset[SAMPLES]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_under_a_data_loader(made: Made, store: str, method: str) -> None:
    cache = TeacherCache(made(store))
    loader = DataLoader(
        cache.dataset(),
        batch_size=5,
        shuffle=True,
        num_workers=2,
        multiprocessing_context=method,
    )
    batches = list(loader)
    for _, labels, targets in batches:
        assert isinstance(targets, TeacherTargets) and labels.dtype == torch.int64
        assert [tuple(c.shape) for c in targets.channels] == [
            (len(labels), width) for width in cache.teacher.channels
        ]
    require_same(by_index(iter(batches)), by_index(iter(cache.loader(epoch=0, batch_size=8))))
