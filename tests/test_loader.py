"""The loader: what was asked for, in the order in which it was asked for, however many workers."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from shared.choices import POLICIES, has_one_view
from shared.errors import InputError, StorageError
from shared.files import regular, retry
from shared.images.readers import FolderReader
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from shared.pixels.decode import image_size
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import draw_view
from shared.pixels.view import apply
from tests.helpers import write_image_folder

SIZE = 16


def indices(*samples: int) -> np.ndarray:
    return np.array(samples, dtype=np.int64)


@pytest.fixture(scope="module")
def train(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "train")


@pytest.fixture(scope="module")
def val(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "val")


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


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_reported_by_row(tmp_path: Path, workers: int) -> None:
    write_image_folder(tmp_path, classes=2, train=4, val=1)
    source = open_source(str(tmp_path), "train")
    (good,) = PixelLoader((source,), SIZE, 0, False).batches(
        [Request(0, np.arange(8), Draw("pad-crop", 0, 0))]
    )
    folder = tmp_path / "train"
    (folder / source.keys[2]).write_bytes(b"")
    (folder / source.keys[5]).write_bytes(b"this is no image")
    (folder / source.keys[6]).unlink()
    (folder / source.keys[6]).symlink_to("nowhere")
    whole = (folder / source.keys[7]).read_bytes()
    (folder / source.keys[7]).write_bytes(whole[: len(whole) // 2])
    order = indices(7, 0, 5, 2, 1, 6)
    loader = PixelLoader((source,), SIZE, workers, pin_memory=False)
    (batch,) = loader.batches([Request(0, order, Draw("pad-crop", 0, 0))])
    reasons = dict(batch.bad)
    assert list(reasons) == [0, 2, 3, 5]
    assert "truncated" in reasons[0]
    assert reasons[2] == "not an image in a known format, 16 bytes"
    assert reasons[3] == "zero bytes"
    assert reasons[5] == f"{folder / source.keys[6]}: it is a link to nothing"
    assert not any("\n" in reason for reason in reasons.values())
    for row, index in enumerate(order.tolist()):
        if row in reasons:
            assert not batch.pixels[row].any()
            assert batch.box[row].tolist() == [0, 0, 0, 0]
            assert not batch.flip[row]
        else:
            assert torch.equal(batch.pixels[row], good.pixels[index])
            assert torch.equal(batch.box[row], good.box[index])
            assert batch.flip[row] == good.flip[index]


@dataclass(frozen=True)
class Failing:
    """A reader whose third sample fails."""

    reader: FolderReader
    error: Exception

    def read(self, index: int) -> bytes:
        if index == 3:
            raise self.error
        return self.reader.read(index)

    def take(self, index: np.ndarray) -> "Failing":
        raise NotImplementedError


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("raised", "arrives"),
    [
        (InputError("it is gone; put it back"), InputError("it is gone; put it back")),
        (StorageError("the server says 503"), StorageError("the server says 503")),
        (
            MemoryError(),
            MemoryError(),
        ),
    ],
)
def test_a_source_that_fails_is_no_bad_image(
    train: ImageSource, workers: int, raised: Exception, arrives: Exception
) -> None:
    """It ends the batches, as itself and in one line, out of a worker too."""
    assert isinstance(train.reader, FolderReader)
    source = replace(train, reader=Failing(train.reader, raised))
    loader = PixelLoader((source,), SIZE, workers, pin_memory=False)
    asked = [Request(0, indices(*rows), Draw("center", 0, 0)) for rows in ((0, 1), (2, 3), (4,))]
    batches = loader.batches(asked)
    assert next(batches).index.tolist() == [0, 1]
    with pytest.raises(type(arrives)) as caught:
        next(batches)
    assert (type(caught.value), str(caught.value)) == (type(arrives), str(arrives))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanished_is_no_bad_image(tmp_path: Path, workers: int) -> None:
    write_image_folder(tmp_path, classes=2, train=2, val=1)
    source = open_source(str(tmp_path), "train")
    path = tmp_path / "train" / source.keys[2]
    path.unlink()
    loader = PixelLoader((source,), SIZE, workers, pin_memory=False)
    with pytest.raises(InputError, match=f"^{path} cannot be read: No such file or directory; "):
        list(loader.batches([Request(0, np.arange(4), Draw("center", 0, 0))]))


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN])
def test_what_a_disk_says_in_passing_is_asked_again(
    train: ImageSource, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    whole = [train.read(i) for i in range(3)]
    failures = iter([True, True, False, True, False, *[True] * 100])
    real = regular.open_regular

    def failing(path: str) -> BinaryIO:
        if next(failures):
            raise OSError(code, os.strerror(code), path)
        return real(path)

    monkeypatch.setattr(regular, "open_regular", failing)
    monkeypatch.setattr(retry, "LOCAL_WAIT", 0.0)
    assert [train.read(i) for i in range(2)] == whole[:2]
    with pytest.raises(StorageError) as caught:
        train.read(2)
    assert isinstance(train.reader, FolderReader)
    assert str(caught.value) == (
        f"{train.reader.path(2)} cannot be read: {os.strerror(code)}, 5 times in a row; nothing "
        f"that was finished is lost: check the disk or the mount, then start the same command again"
    )
    assert len(list(failures)) == 95  # five tries, no more


def test_what_will_not_pass_is_asked_once(
    train: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def denied(path: str) -> BinaryIO:
        asked.append(path)
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(regular, "open_regular", denied)
    with pytest.raises(InputError, match="cannot be read: Permission denied; "):
        train.read(0)
    assert len(asked) == 1


def test_an_image_too_small_for_the_policy_is_bad(train: ImageSource) -> None:
    loader = PixelLoader((train,), 300, 0, pin_memory=False)
    (batch,) = loader.batches([Request(0, indices(0, 1), Draw("pad-crop", 0, 0))])
    assert [row for row, _ in batch.bad] == [0, 1]
    assert "pad-crop at --size 300 needs images of at least" in batch.bad[0][1]


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
