"""Top-1 and top-5 against a slow obvious reference, and over a whole split with bad images."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from shared.epochs.val_batches import Labelled, image_batches
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import PixelLoader
from shared.models.resnet import StagedResNet
from shared.pixels.normalise import Normalisation
from train.accuracy import correct, evaluate
from train.step import AUTOCAST

CPU = torch.device("cpu")
PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # pixels as they are


def slow_correct(logits: list[list[float]], labels: list[int]) -> tuple[int, int]:
    """A label is in the first k places if fewer than k classes have a larger logit."""
    places = [
        sum(other > row[label] for other in row)
        for row, label in zip(logits, labels, strict=True)
        if label >= 0
    ]
    return sum(place < 1 for place in places), sum(place < 5 for place in places)


@given(st.data(), st.integers(1, 20), st.integers(1, 30))
def test_counts_are_those_of_the_slow_reference(
    data: st.DataObject, rows: int, classes: int
) -> None:
    seed = data.draw(st.integers(0, 2**32))
    logits = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))
    # -1 is the label of an image that did not decode.
    labels = data.draw(st.lists(st.integers(-1, classes - 1), min_size=rows, max_size=rows))
    got = correct(logits, torch.tensor(labels))
    assert got.shape == (2,) and got.dtype == torch.float32
    assert tuple(got.tolist()) == slow_correct(logits.tolist(), labels)


@pytest.mark.parametrize(
    ("label", "expected"), [(3, [1, 1]), (1, [0, 1]), (5, [0, 1]), (0, [0, 0]), (-1, [0, 0])]
)
def test_the_sixth_place_is_outside_the_top_five(label: int, expected: list[int]) -> None:
    logits = torch.tensor([[0.0, 4.0, 3.0, 5.0, 2.0, 1.0]])
    assert correct(logits, torch.tensor([label])).tolist() == expected


def test_with_fewer_than_five_classes_every_label_is_in_the_top_five() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]] * 3)
    assert correct(logits, torch.arange(3)).tolist() == [1, 3]


class Reader(nn.Module):
    """Answers with the class whose number is the image's grey value; sees bad images as class 0.

    The other classes follow in the order of their distance, of two the one below first.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.numbers = torch.arange(classes).float()
        self.batches: list[int] = []
        self.modes: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        self.modes.add(self.training)
        return -(x.mean(dim=(1, 2, 3))[:, None] - self.numbers - 0.25).abs()


def write_grey(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


def percent(source: ImageSource, batch_size: int) -> tuple[float, float, int]:
    reader = Reader(len(source.classes))
    # Another source first, because the batches are of the one at position 1.
    loader = PixelLoader((source, source), 8, workers=0, pin_memory=False)
    model = cast(StagedResNet, reader)
    batches = image_batches(loader, 1, source, batch_size)
    found = evaluate(model, batches, PLAIN, CPU)
    assert found.samples == len(source)
    assert sum(reader.batches) == len(source)
    assert reader.modes == {False} and reader.training
    return found.top1, found.top5, found.undecodable


# 8 classes of 3 images: the class's own grey, a neighbour's, and one at the other end.
GREYS = [(c, c + 1 if c < 7 else 6, 7 if c < 4 else 0) for c in range(8)]


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("greys")
    for label, values in enumerate(GREYS):
        for name, value in enumerate(values):
            write_grey(root / "val" / f"class{label}" / f"{name}.png", value)
    return root


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
def test_every_image_counts_once_whatever_the_batches(greys: Path, batch_size: int) -> None:
    source = open_source(str(greys), "val")
    logits = [[-abs(grey - c - 0.25) for c in range(8)] for values in GREYS for grey in values]
    right = slow_correct(logits, source.labels.tolist())
    assert 0 < right[0] < right[1] < 24
    expected = [100 * count / 24 for count in right]
    assert percent(source, batch_size) == pytest.approx((*expected, 0), rel=1e-6)


def test_images_that_do_not_decode_count_as_wrong(tmp_path: Path) -> None:
    """Their pixels are zeros, which the reader answers with class 0: right by accident there."""
    for label in range(2):
        for number in range(4):
            write_grey(tmp_path / "val" / f"class{label}" / f"{number}.png", label)
    assert percent(open_source(str(tmp_path), "val"), 3) == (100, 100, 0)
    (tmp_path / "val" / "class0" / "2.png").write_bytes(b"")
    (tmp_path / "val" / "class1" / "0.png").write_text("no image")
    assert percent(open_source(str(tmp_path), "val"), 3) == (75, 75, 2)


@pytest.mark.parametrize("precision", AUTOCAST)
def test_it_runs_at_the_precision_of_training(precision: str) -> None:
    seen = []

    class Asked(Reader):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(
                torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            )
            return super().forward(x)

    batches = iter([Labelled(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, -1]))])
    model = cast(StagedResNet, Asked(3))
    found = evaluate(model, batches, PLAIN, CPU, precision=precision)
    assert seen == [AUTOCAST[precision]]
    assert (found.top1, found.samples, found.undecodable) == (50, 2, 1)
    assert found.note().startswith("NOTE: 1 of 2 val images do not decode and count as wrong")


def test_batches_walk_the_source_in_order(greys: Path) -> None:
    source = open_source(str(greys), "val")
    loader = PixelLoader((source,), 8, workers=0, pin_memory=False)
    pixels, labels = zip(*image_batches(loader, 0, source, 7), strict=True)
    assert [len(batch) for batch in labels] == [len(batch) for batch in pixels] == [7, 7, 7, 3]
    assert torch.cat(labels).tolist() == source.labels.tolist()
    assert torch.cat(pixels)[:, 0, 0, 0].tolist() == [v for values in GREYS for v in values]
