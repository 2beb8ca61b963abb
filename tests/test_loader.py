"""The loader: what was asked for, in the order in which it was asked for, however many workers."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from shared.choices import POLICIES, has_one_view
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from shared.pixels.decode import image_size
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import draw_view
from shared.pixels.view import apply
from tests.loading import SIZE, indices, train, val

__all__ = ["train", "val"]  # fixtures of the tests below


def requests(seed: int = 0) -> list[Request]:
    """Of two sources, of one to six samples in no order, drawn from three policies."""
    return [
        Request(0, indices(3, 0, 7, 11, 5, 2), Draw("random-resized-crop", seed, 0)),
        Request(1, indices(8, 1), Draw("center", seed, 0)),
        Request(0, indices(4), Draw("random-resized-crop", seed, 1)),
        Request(0, indices(4, 4), Draw("pad-crop", seed, 2)),
        Request(1, indices(0, 1, 2), Draw("random-resized-crop", seed, 0)),
    ]


def assert_equal(mine: Sequence[PixelBatch], theirs: Sequence[PixelBatch]) -> None:
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        for name in ("index", "pixels", "box", "flip"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.images == other.images
        assert one.bad == other.bad


def slow(sources: tuple[ImageSource, ...], asked: Sequence[Request]) -> list[PixelBatch]:
    """The reference: one sample after the other, in this process."""
    batches = []
    for request in asked:
        source, draw = sources[request.source], request.views
        assert isinstance(draw, Draw)
        views, pixels = [], []
        for index in request.index.tolist():
            data = source.read(index)
            shape = image_size(data)
            view = draw_view(draw.policy, SIZE, draw.seed, draw.number, index, *shape)
            views.append(view)
            pixels.append(apply(view, data, SIZE))
        box = [[view.top, view.left, view.height, view.width] for view in views]
        batches.append(
            PixelBatch(
                torch.from_numpy(request.index),
                torch.stack(pixels),
                torch.tensor(box, dtype=torch.int32),
                torch.tensor([view.flip for view in views]),
                (),
                (),
            )
        )
    return batches


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_those_asked_for_in_order(
    train: ImageSource, val: ImageSource, workers: int
) -> None:
    """Twice, the second time with the workers of the first, and other requests."""
    loader = PixelLoader((train, val), SIZE, workers, pin_memory=False)
    for seed in (0, 1):
        asked = requests(seed)
        expected = slow((train, val), asked)
        assert_equal(list(loader.batches(asked)), expected)
        asked.reverse()
        assert_equal(list(loader.batches(iter(asked))), expected[::-1])
    assert_equal(list(loader.batches([])), [])
    assert not torch.equal(slow((train,), requests(0)[:1])[0].box, expected[0].box)


def test_types_and_shapes(train: ImageSource) -> None:
    (batch,) = PixelLoader((train,), SIZE, 0, False).batches(requests()[:1])
    assert batch.index.dtype == torch.int64 and batch.index.tolist() == [3, 0, 7, 11, 5, 2]
    assert batch.pixels.dtype == torch.uint8 and batch.pixels.shape == (6, 3, SIZE, SIZE)
    assert batch.box.dtype == torch.int32 and batch.box.shape == (6, 4)
    assert batch.flip.dtype == torch.bool and batch.flip.shape == (6,)
    assert batch.images == () and batch.bad == ()


def test_workers_outlive_a_call(train: ImageSource) -> None:
    loader = PixelLoader((train,), SIZE, 1, pin_memory=False)
    processes = []
    for _ in range(2):
        batches = loader.batches(requests()[:1])
        list(batches)
        processes.append([worker.pid for worker in loader._loader._iterator._workers])
    assert processes[0] == processes[1]
    assert len(processes[0]) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_replay_gives_what_draw_gave(train: ImageSource, policy: str) -> None:
    loader = PixelLoader((train,), SIZE, 0, pin_memory=False)
    index = np.arange(len(train))
    (drawn,) = loader.batches([Request(0, index, Draw(policy, 5, 3))])
    (replayed,) = loader.batches(
        [Request(0, index, Replay(policy, drawn.box.numpy(), drawn.flip.numpy()))]
    )
    assert_equal([replayed], [drawn])
    # Rows of a stored view, as training gathers them.
    rows = indices(6, 2, 9)
    stored = Replay(policy, drawn.box.numpy()[rows], drawn.flip.numpy()[rows])
    (some,) = loader.batches([Request(0, rows, stored)])
    assert torch.equal(some.pixels, drawn.pixels[rows])
    if has_one_view(policy):
        assert not drawn.flip.any()
    else:
        assert drawn.flip.any() and not drawn.flip.all()
    # Negative control: the mirror image is another.
    mirrored = Replay(policy, drawn.box.numpy(), ~drawn.flip.numpy())
    (other,) = loader.batches([Request(0, index, mirrored)])
    assert torch.equal(other.pixels, drawn.pixels.flip(3))
    assert not torch.equal(other.pixels, drawn.pixels)


def test_as_jpeg_gives_the_pixels_of_the_jpegs(train: ImageSource) -> None:
    """What the teacher sees is what a view shard stores, after decoding."""
    asked = requests()[:1]
    (plain,) = PixelLoader((train,), SIZE, 0, False).batches(asked)
    (batch,) = PixelLoader((train,), SIZE, 0, False, as_jpeg=True).batches(asked)
    assert len(batch.images) == 6
    for row, image in enumerate(batch.images):
        assert image == encode_pixels(plain.pixels[row])
        assert torch.equal(batch.pixels[row], decode_pixels(image))
    assert not torch.equal(batch.pixels, plain.pixels)
    assert torch.equal(batch.box, plain.box)
    error = (batch.pixels.float() - plain.pixels.float()).abs().mean()
    assert error < 20  # of 255; noise is what JPEG keeps worst
