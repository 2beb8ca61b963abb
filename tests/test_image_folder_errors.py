"""Folders that are no ImageFolder, and odd files in one: errors word for word, or bad images."""

import os
from pathlib import Path

import pytest

from shared.errors import BadImage, InputError
from shared.images.source import open_source
from tests.image_trees import FILES, write
from tests.test_regular import ODD


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


EXTENSION_RULE = (
    "an ImageFolder split holds <class>/<name> ending in "
    ".jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp"
)


@pytest.mark.parametrize(
    ("files", "split", "limit", "text"),
    [
        (
            {},
            "train",
            None,
            "--images must be a folder that holds train/ and val/, a pattern of tars, imagenette, "
            "cifar10, cifar100 or digits; got {root}: no such folder",
        ),
        (FILES, "test", None, "--split must be a folder in {root}, got test: found train, val"),
        (
            {"a.jpg": b""},
            "train",
            None,
            "--split must be a folder in {root}, got train: found no folders",
        ),
        (
            FILES,
            "../root/train",
            None,
            "--split must be a folder in {root}, got ../root/train: found train, val",
        ),
        (
            {"train/a.jpg": b""},
            "train",
            None,
            "{root}/train holds images outside class folders and no labels beside it: found none "
            "of train.csv, LOC_train_solution.csv",
        ),
        (
            {"train/a.gif": b""},
            "train",
            None,
            "there are no images in {root}/train: " + EXTENSION_RULE,
        ),
        (
            {"train/a/a.gif": b""},
            "train",
            None,
            "there are no images in {root}/train: " + EXTENSION_RULE,
        ),
        (
            {**FILES, "train/ant/a.txt": b"", "train/bee/.b.jpg": b""},
            "train",
            None,
            "2 of 5 classes in {root}/train have no images: ant, bee; " + EXTENSION_RULE,
        ),
        (
            {**FILES, **{f"train/x{i}/a.txt": b"" for i in range(7)}},
            "train",
            None,
            "7 of 10 classes in {root}/train have no images: x0, x1, x2, x3, x4, ...; "
            + EXTENSION_RULE,
        ),
        (FILES, "train", 0, "--limit must be at least 1, got 0"),
    ],
)
def test_errors(
    tmp_path: Path, files: dict[str, bytes], split: str, limit: int | None, text: str
) -> None:
    root = write(tmp_path / "root", files)
    with pytest.raises(InputError) as caught:
        open_source(str(root), split, limit)
    assert str(caught.value) == text.format(root=root)


def test_unreadable_files(root: Path) -> None:
    source = open_source(str(root), "val")
    path = root / "val/Dog/v.jpg"
    path.unlink()
    with pytest.raises(InputError) as caught:
        source.read(0)
    assert str(caught.value) == (
        f"{path} cannot be read: No such file or directory; put it back, or allow it to be read"
    )


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_listed_and_a_bad_image(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a folder is a folder, whatever it is called."""
    before = open_source(str(root), "val")
    monkeypatch.chdir(root / "val/Dog")  # paths of sockets are short
    make, text = ODD[kind]
    make(Path("odd.jpg"))
    if "folder" in kind and kind != "folder":
        Path("odd.jpg").unlink()
        Path("odd.jpg").symlink_to("/dev/null")
        text = "a device"
    source = open_source(str(root), "val")
    if kind == "folder":
        assert source.digest == before.digest
        return
    (index,) = (i for i, key in enumerate(source.keys) if key == "Dog/odd.jpg")
    with pytest.raises(BadImage) as caught:
        source.read(index)
    assert text in str(caught.value) and f"{root}/val/Dog/odd.jpg: it is " in str(caught.value)
    for other in range(len(source)):
        if other != index:
            source.read(other)


def test_an_image_of_a_terabyte_is_a_bad_image(root: Path) -> None:
    with (root / "val/Dog/v.jpg").open("wb") as file:
        file.truncate(1 << 40)
    source = open_source(str(root), "val")
    index = list(source.keys).index("Dog/v.jpg")
    with pytest.raises(BadImage, match="1,099,511,627,776 bytes are more than the limit of 1,073"):
        source.read(index)


def test_a_flat_folder_stays_one_with_a_folder_called_as_an_image(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"val/a.jpg": b"", "val.csv": b"a.jpg,ant\n"})
    before = open_source(str(root), "val")
    (root / "val/b.jpg").mkdir()
    assert open_source(str(root), "val").digest == before.digest


def test_folders_deeper_than_pythons_stack(root: Path) -> None:
    deep = f"{root}/val/cat"
    for _ in range(1500):
        deep += "/d"
        os.mkdir(deep)
    Path(f"{deep}/x.jpg").write_bytes(b"")
    try:
        source = open_source(str(root), "val")
        assert any(key.endswith("d/d/x.jpg") for key in source.keys)
    finally:  # what pytest removes old folders with is not made for such depths
        os.remove(f"{deep}/x.jpg")
        os.removedirs(deep)


def test_names_that_no_folder_can_have() -> None:
    for spec in ("~no-user-of-this-name/x", "x" * 5000, "/".join(["x"] * 5000), "a\0b"):
        with pytest.raises(InputError) as caught:
            open_source(spec, "train")
        assert "\n" not in str(caught.value)


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "val/cat/again").symlink_to(root / "val/cat")
    with pytest.raises(InputError, match="again is a link to a folder that contains it"):
        open_source(str(root), "val")
