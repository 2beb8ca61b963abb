"""The built-in digits: scikit-learn's images, written whole or not at all, whoever writes them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.errors import InputError
from shared.images import digits
from shared.images import source as images
from shared.images.digits import write_digits
from shared.images.source import open_source
from shared.pixels.decode import decode
from tests.image_trees import write


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which digits were written."""
    data = tmp_path_factory.mktemp("data")
    write_digits(data / "digits")
    return data


def test_digits(digits_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", digits_data)
    train, val = open_source("digits", "train"), open_source("digits", "val")
    assert (len(train), len(val)) == (1442, 355)
    assert (train.spec, train.policy, train.size) == ("digits", "pad-crop", 32)
    assert train.classes == val.classes == tuple("0123456789")
    assert np.bincount(val.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert not set(train.keys) & set(val.keys)
    few = open_source("digits", "train", limit=200)  # make demo's: 20 of each digit, or nearly
    assert np.bincount(few.labels).tolist() == [20, 21, 19, 21, 20, 20, 20, 20, 20, 19]
    assert train.keys[0] == "0/0000.jpg"  # scikit-learn's first digit is a 0
    pixels = decode(train.read(0))
    assert pixels.shape == (32, 32, 3)
    assert np.ptp(pixels.astype(int), axis=2).max() <= 2  # grey
    assert pixels.max() > 240
    assert pixels.min() < 10


def test_digits_show_scikit_learns_images_under_the_right_label(digits_data: Path) -> None:
    """Shrunk back to 8x8 and 0..16, every image is nearest to the one whose index it carries."""
    from sklearn.datasets import load_digits

    reference = load_digits()
    paths = sorted((digits_data / "digits").glob("*/*/*.jpg"), key=lambda path: path.stem)
    assert [path.stem for path in paths] == [f"{i:04d}" for i in range(1797)]
    assert [int(path.parent.name) for path in paths] == reference.target.tolist()
    shrunk = np.stack([decode(path.read_bytes())[..., 0] for path in paths]) / 255 * 16
    shrunk = shrunk.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64)
    assert np.abs(shrunk - reference.data).mean() < 1  # of 16; bicubic and JPEG take their part
    distance = (reference.data**2).sum(axis=1) - 2 * shrunk @ reference.data.T  # + a row's own
    assert (distance.argmin(axis=1) == np.arange(1797)).mean() > 0.995  # some are near twins


def contents(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_digits_written_by_two_processes_at_once(digits_data: Path, tmp_path: Path) -> None:
    """Both wait for one file before they start, both succeed, and the bytes are always the same."""
    root, start = tmp_path / "data" / "digits", tmp_path / "start"
    code = (
        "import pathlib, sys, time, sklearn.datasets\n"
        "from shared.images.digits import write_digits\n"
        "print('ready', flush=True)\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "write_digits(pathlib.Path(sys.argv[1]))\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, root, start],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    start.touch()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert contents(root) == contents(digits_data / "digits")
    assert os.listdir(root.parent) == ["digits"]  # nothing temporary is left


def test_a_slower_process_uses_the_winners_digits(
    digits_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "digits"

    def finish_second(tree: Path) -> None:
        write(tree, {"train/0/0000.jpg": b"the slower one's"})
        shutil.copytree(digits_data / "digits", root)

    monkeypatch.setattr(digits, "_write_tree", finish_second)
    write_digits(root)
    assert contents(root) == contents(digits_data / "digits")
    assert os.listdir(tmp_path) == ["digits"]


def test_complete_digits_are_left_alone(digits_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(digits, "_write_tree")
    write_digits(digits_data / "digits")


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tree: Path) -> None:
        write(tree, {"train/0/0000.jpg": b"half"})
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "_write_tree", fail)
    with pytest.raises(KeyboardInterrupt):
        write_digits(tmp_path / "digits")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "found"), [({}, 0), ({"train/0/0.jpg": b"x", "val/0/1.jpg": b""}, 1)]
)
def test_something_else_in_the_place_of_digits(
    tmp_path: Path, files: dict[str, bytes], found: int
) -> None:
    root = tmp_path / "digits"
    root.mkdir()
    write(root, files)
    with pytest.raises(InputError) as caught:
        write_digits(root)
    assert str(caught.value) == (
        f"{root} does not hold the 1797 images of the built-in digits, but {found}: "
        "remove this folder and it is written again"
    )
    assert contents(root) == files


def test_digits_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError) as caught:
        write_digits(tmp_path / "digits")
    assert str(caught.value) == (
        "the built-in image set digits needs scikit-learn: pip install scikit-learn, "
        "or name an ImageFolder with --images"
    )
    assert os.listdir(tmp_path) == []
