"""TeacherCache gives the batches that train/run.py trains on, bit for bit and in the same order."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.cache import InputError, TeacherCache, TeacherTargets
from tests.helpers import STUDENT
from tests.python_api.conftest import CLASSES, SAMPLES, VIEWS, Made
from train.batch import Batch
from train.flags import make_parser
from train.input import open_input
from train.setup import make_setup

BATCH = 8
GUIDED = "s_resnet18.t_resnet34.cd.ce.kdv2"
Step = tuple[Tensor, Tensor, TeacherTargets]


def of_the_command(
    cache: Path, recipe: str, epoch: int, *more: str
) -> Iterator[tuple[Tensor, Batch]]:
    flags = ["--cache", str(cache), *STUDENT, "--recipe", recipe, "--batch-size", str(BATCH)]
    feed = open_input(make_setup(make_parser().parse_args([*flags, "--device", "cpu", *more])))
    yield from feed.batches(epoch)
    feed.close()


def require_same(mine: list[Step], theirs: list[tuple[Tensor, Batch]]) -> None:
    assert len(mine) == len(theirs) > 3
    for (pixels, labels, targets), (expected, batch) in zip(mine, theirs, strict=True):
        assert torch.equal(pixels, expected) and pixels.stride() == expected.stride()
        assert torch.equal(labels, batch.labels)
        assert batch.targets is not None and {"logits", "channels"} & set(batch.targets)
        for name, values in batch.targets.items():
            assert torch.equal(targets[name], values), name
        for name in ("guided", "partner", "share"):
            expected_rows = getattr(batch, name)
            assert expected_rows is None or torch.equal(targets[name], expected_rows), name


@pytest.mark.parametrize("epoch", [0, VIEWS + 1])
def test_every_step_of_an_epoch(made: Made, store: str, epoch: int) -> None:
    theirs = list(of_the_command(made(store), GUIDED, epoch, "--workers", "0", "--seed", "5"))
    cache = TeacherCache(made(store))
    loader = cache.loader(epoch=epoch, batch_size=BATCH, workers=0, seed=5)
    mine = list(loader)
    assert len(loader) == len(mine)
    require_same(mine, theirs)
    index = torch.cat([targets.index for _, _, targets in mine])
    assert len(index.unique()) == len(index) == SAMPLES
    other = list(cache.loader(epoch=epoch, batch_size=BATCH, workers=0, seed=6))
    assert not torch.equal(index, torch.cat([targets.index for _, _, targets in other]))


def test_workers(made: Made, store: str) -> None:
    theirs = list(of_the_command(made(store), GUIDED, 1, "--workers", "2"))
    with TeacherCache(made(store)) as cache:
        require_same(list(cache.loader(epoch=1, batch_size=BATCH, workers=2)), theirs)


@pytest.mark.slow
def test_mixed_views(made: Made, store: str) -> None:
    path = made(f"{store} mixed")
    theirs = list(of_the_command(path, "s_resnet18.t_resnet34.kd.ce", 0, "--workers", "0"))
    mine = list(TeacherCache(path).loader(epoch=0, batch_size=BATCH))
    require_same(mine, theirs)
    for _, _, targets in mine:
        assert targets.partner.shape == targets.share.shape == targets.index.shape
        assert (targets.share < 1).any()
        with pytest.raises(KeyError, match="there are no targets 'guided': these are logits, "):
            _ = targets.guided


def test_epochs_in_a_row_are_those_alone(opened: TeacherCache) -> None:
    """Workers and memory go on from one to the next, also after a loop that was left."""
    alone = [
        list(opened.loader(epoch=epoch, batch_size=BATCH, epochs=epoch + 1)) for epoch in (0, 1)
    ]
    next(iter(opened.loader(epoch=0, batch_size=BATCH)))
    row = [list(opened.loader(epoch=epoch, batch_size=BATCH)) for epoch in (0, 1)]
    for mine, expected in zip(row, alone, strict=True):
        for one, other in zip(mine, expected, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[2].logits, other[2].logits)


def test_what_targets_hold(opened: TeacherCache) -> None:
    _, labels, targets = next(iter(opened.loader(epoch=0, batch_size=BATCH)))
    rows = len(labels)
    assert targets.logits.shape == (rows, CLASSES) and targets["logits"] is targets.logits
    assert [tuple(means.shape) for means in targets.channels] == [(rows, c) for c in (16, 32, 64)]
    assert torch.equal(torch.cat(targets.channels, 1), targets["channels"])
    assert torch.equal(targets.guided, targets.logits.argmax(1) == labels)
    loss = torch.nn.functional.cross_entropy(targets.logits, labels, reduction="none")
    half = float(loss.median())
    below = next(iter(opened.loader(epoch=0, batch_size=BATCH, guide_below=half)))[2]
    assert torch.equal(below.guided, loss < half) and below.guided.any()
    only = next(iter(opened.loader(epoch=0, batch_size=BATCH, targets=["channels"])))[2]
    assert "logits" not in only and torch.equal(only["channels"], targets["channels"])
    with pytest.raises(InputError, match="guide_below compares the teacher's logits: add logits"):
        opened.loader(epoch=0, batch_size=BATCH, targets="channels", guide_below=1.0)


def test_the_val_split(made: Made, store: str) -> None:
    flags = ["--cache", str(made(store)), *STUDENT, "--batch-size", "3", "--device", "cpu"]
    feed = open_input(make_setup(make_parser().parse_args([*flags, "--workers", "0"])))
    theirs = list(feed.val_batches())
    loader = TeacherCache(made(store)).val_loader(batch_size=3)
    assert len(loader) == len(theirs) == 3
    for (pixels, labels), expected in zip(loader, theirs, strict=True):
        assert torch.equal(pixels, expected.pixels) and torch.equal(labels, expected.labels)


def test_the_teachers_normalisation(opened: TeacherCache) -> None:
    pixels, _, _ = next(iter(opened.loader(epoch=0, batch_size=BATCH)))
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in vars(opened.normalisation).values()
    )
    assert torch.allclose(opened.normalise(pixels), (pixels / 255 - mean) / std, atol=1e-5)
