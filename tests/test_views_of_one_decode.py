"""Several views from one decode: the same pixels, boxes, JPEGs and errors as view by view."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.pixels.augmentation import parse_augmentation
from shared.pixels.policy import draw_view
from shared.pixels.view import ViewPolicy, apply
from tests.encoded import COLOUR, SOUND, encode

SIZE = 16
NUMBERS = (3, 0, 11)
BROKEN = (b"", b"no image", encode(COLOUR, "JPEG")[:200])
AUGMENTED = ViewPolicy(
    "random-resized-crop",
    augmentation=parse_augmentation("jitter=0.4,randaugment=2x9,erasing=0.5,mixup=0.2,cutmix=1"),
)


class Images:
    """Every encoding that is decoded, some that are damaged, and two that are tiny; it counts."""

    def __init__(self) -> None:
        self.data = [*(make() for make in SOUND.values()), *BROKEN]
        self.reads = 0

    def read(self, index: int) -> bytes:
        self.reads += 1
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)


def batches(request: Request, workers: int = 0, as_jpeg: bool = False) -> PixelBatch:
    source = Images()
    loader = PixelLoader((source,), SIZE, workers, False, as_jpeg)  # type: ignore[arg-type]
    (batch,) = loader.batches([request])
    return batch


def one_by_one(index: np.ndarray, policy: ViewPolicy | str, jpeg: bool) -> Iterator[PixelBatch]:
    for number in NUMBERS:
        yield batches(Request(0, index, Draw(policy, 5, number)), as_jpeg=jpeg)


def assert_equal(one: PixelBatch, other: PixelBatch) -> None:
    for name in ("index", "pixels", "box", "flip", "partner", "share"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        assert mine is None or torch.equal(mine, theirs), name
    assert one.images == other.images and one.bad == other.bad
    assert one.pixels.stride() == other.pixels.stride()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("as_jpeg", [False, True])
@pytest.mark.parametrize("policy", ["random-resized-crop", "pad-crop", AUGMENTED], ids=str)
def test_every_view_is_as_if_it_were_drawn_alone(
    policy: ViewPolicy | str, as_jpeg: bool, workers: int
) -> None:
    index = np.arange(len(Images()))[::-1].copy()
    draw = Draw(policy, 5, NUMBERS[0], NUMBERS[1:])
    request = Request(0, index, draw)
    whole = batches(request, workers, as_jpeg)
    assert len(whole.index) == request.rows == 3 * len(index)
    found = list(whole.by_view(3))
    for mine, alone in zip(found, one_by_one(index, policy, as_jpeg), strict=True):
        assert_equal(mine, alone)
    assert not torch.equal(found[0].pixels, found[1].pixels)
    small = 2 if policy == "pad-crop" else 0  # 1 x 1
    assert len(whole.bad) == 3 * (len(BROKEN) + small)


@pytest.mark.parametrize("name", SOUND)
def test_the_pixels_are_those_of_the_stored_box(name: str) -> None:
    """Training decodes only the rows that a box needs."""
    source, at = Images(), list(SOUND).index(name)
    draw = Draw("random-resized-crop", 5, NUMBERS[0], NUMBERS[1:])
    loader = PixelLoader((source,), SIZE, 0, pin_memory=False)  # type: ignore[arg-type]
    (batch,) = loader.batches([Request(0, np.array([at]), draw)])
    data, shape = source.data[at], (1, 1) if "1x1" in name else (20, 30)
    for row, number in enumerate(NUMBERS):
        view = draw_view("random-resized-crop", SIZE, 5, number, at, *shape)
        assert torch.equal(batch.pixels[row], apply(view, data, SIZE))
        assert batch.box[row].tolist() == [view.top, view.left, view.height, view.width]


def test_an_image_is_read_once() -> None:
    source = Images()
    loader = PixelLoader((source,), SIZE, 0, pin_memory=False)  # type: ignore[arg-type]
    draw = Draw("random-resized-crop", 5, 0, tuple(range(1, 10)))
    list(loader.batches([Request(0, np.arange(len(source)), draw)]))
    assert source.reads == len(source)
