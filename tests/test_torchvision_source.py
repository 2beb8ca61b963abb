"""The sets that torchvision downloads, from tiny local copies in its on-disk format."""

import hashlib
import pickle
import shutil
import sys
import urllib.error
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, Imagenette

from shared.errors import InputError
from shared.images import source as images
from shared.images import torchvision_sets as torchvision_source
from shared.images.source import open_source
from shared.images.torchvision_sets import to_png
from shared.pixels.policy import draw_view
from shared.pixels.view import apply

NAMES = {10: [f"name{i}" for i in range(10)], 100: [f"fine{i}" for i in range(100)]}


def pixels_of(name: str, rows: int) -> np.ndarray:
    """(rows, 3072) uint8, as CIFAR stores them."""
    generator = np.random.Generator(np.random.Philox(key=[len(name), rows]))
    return generator.integers(0, 256, (rows, 3072), np.uint8)


def write_cifar(root: Path, kind: type[CIFAR10], monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchvision unpacks, with the checksums of that."""
    fine = kind is CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def write(name: str, content: object) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    for lists, offset in (("train_list", 0), ("test_list", 1)):
        sums = []
        for name, _ in getattr(kind, lists):
            rows = 4 + offset
            labels = [(i * 3 + len(name)) % (100 if fine else 10) for i in range(rows)]
            field = "fine_labels" if fine else "labels"
            sums.append([name, write(name, {"data": pixels_of(name, rows), field: labels})])
        monkeypatch.setattr(kind, lists, sums)
    meta = {**kind.meta}
    meta["md5"] = write(meta["filename"], {meta["key"]: NAMES[100 if fine else 10]})
    monkeypatch.setattr(kind, "meta", meta)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")
    yield tmp_path / "data"
    torchvision_source._load_cifar.cache_clear()


@pytest.mark.parametrize(("name", "kind"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_cifar(data: Path, name: str, kind: type[CIFAR10], monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(data / name, kind, monkeypatch)
    for split in ("train", "val"):
        reference = kind(data / name, train=split == "train")
        source = open_source(name, split)
        assert len(source) == len(reference) and source.labels.tolist() == reference.targets
        assert source.classes == tuple(reference.classes)
        assert (source.policy, source.size, source.spec) == ("pad-crop", 32, name)
        for index in range(len(source)):
            image = Image.open(BytesIO(source.read(index)))
            assert image.format == "PNG" and image.mode == "RGB"
            assert np.array_equal(np.asarray(image), reference.data[index])
            assert len(source.read(index)) == 3172
        copy = pickle.loads(pickle.dumps(source))
        assert copy.read(3) == source.read(3)
    limited = open_source(name, "val", limit=2)
    assert [limited.read(i) for i in range(2)] == [source.read(0), source.read(2)]
    assert limited.reader.take(np.array([1])).read(0) == source.read(2)
    assert len(pickle.dumps(source.reader)) < 1000  # the array stays where it is
    view = draw_view("pad-crop", 32, 0, 0, 0, 32, 32)
    assert apply(view, source.read(0), 32).shape == (3, 32, 32)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_any_small_png(height: int, width: int, seed: int) -> None:
    generator = np.random.Generator(np.random.Philox(key=seed))
    pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(to_png(pixels)))), pixels)


def test_png_bytes_are_promised() -> None:
    """A cache of CIFAR is joined by sizes and checksums: the bytes must never change."""
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert hashlib.sha256(to_png(pixels)).hexdigest() == (
        "664fc93c785dc4c415cee8fde6f7e0ff2c0a5d5b706c8654bde19c935862dceb"
    )


def test_a_download_appears_whole(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(data / "elsewhere", CIFAR10, monkeypatch)

    def download(self: CIFAR10) -> None:
        assert not (data / "cifar10").exists()
        shutil.copytree(data / "elsewhere", self.root, dirs_exist_ok=True)

    monkeypatch.setattr(CIFAR10, "download", download)
    assert len(open_source("cifar10", "train")) == 20
    monkeypatch.setattr(CIFAR10, "download", None)  # not called again
    assert len(open_source("cifar10", "val")) == 5
    assert sorted(path.name for path in data.iterdir()) == ["cifar10", "elsewhere"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenette"])
@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), RuntimeError("File not found\nor corrupted.")]
)
def test_a_failed_download_is_one_line(
    data: Path, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    for module in ("cifar", "imagenette"):
        name_ = f"torchvision.datasets.{module}"
        monkeypatch.setattr(sys.modules[name_], "download_and_extract_archive", fail)
    with pytest.raises(InputError) as caught:
        open_source(name, "train")
    text = str(caught.value)
    assert text.startswith(f"{name} cannot be downloaded into {data / name}: ")
    assert text.endswith("put the files there, or name another source with --images")
    assert "\n" not in text and list(data.iterdir()) == []


def test_damaged_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(data / "cifar10", CIFAR10, monkeypatch)
    (data / "cifar10/cifar-10-batches-py/test_batch").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        open_source("cifar10", "val")
    text = str(caught.value)
    assert text.startswith(
        f"{data / 'cifar10'} does not hold cifar10 as torchvision downloads it: "
    )
    assert text.endswith("Or remove this folder and it is downloaded again") and "\n" not in text


@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_other_splits(name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(name, "test")
    assert str(caught.value) == f"--split must be train or val for {name}, got test"


def test_imagenette(data: Path) -> None:
    wnids = list(Imagenette._WNID_TO_CLASS)
    for wnid in wnids:
        for split in ("train", "val"):
            path = data / "imagenette/imagenette2-320" / split / wnid / f"{wnid}_1.JPEG"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (40, 30)).save(path, "JPEG")
    reference = Imagenette(data / "imagenette", split="val", size="320px")
    source = open_source("imagenette", "val")
    assert [f"{reference._image_root}/{key}" for key in source.keys] == [
        path for path, _ in reference._samples
    ]
    assert source.labels.tolist() == [label for _, label in reference._samples]
    assert source.classes == tuple(names[0] for names in reference.classes)
    assert (source.policy, source.size) == ("random-resized-crop", 224)
    assert source.read(0).startswith(b"\xff\xd8")
    assert open_source("imagenette", "train", limit=3).classes == source.classes


def test_an_incomplete_imagenette(data: Path) -> None:
    (data / "imagenette").mkdir(parents=True)
    with pytest.raises(InputError, match="no such folder"):
        open_source("imagenette", "train")
