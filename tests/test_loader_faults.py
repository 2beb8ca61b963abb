"""Bad images are reported by row; whatever else fails ends the batches in one line."""

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from shared.errors import InputError, StorageError
from shared.files import regular, retry
from shared.images.readers import FolderReader
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from tests.helpers import write_image_folder
from tests.loading import SIZE, indices, train

__all__ = ["train"]  # fixtures of the tests below


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
