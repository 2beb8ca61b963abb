"""ImageNet's val images in one folder, with their labels in a file beside it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.images import source as images
from shared.images.source import open_source
from tests.ilsvrc import (
    DEVKIT,
    TRAIN,
    VAL,
    VAL_WNIDS,
    devkit_files,
    require_equal,
    unpacked,
    write_devkit,
)
from tests.image_trees import write

__all__ = ["unpacked"]  # fixtures of the tests below


def flat_csv(root: Path) -> None:
    rows = zip(VAL, VAL_WNIDS, strict=True)
    write(root, {"val.csv": "".join(f"{n}, {w}\r\n" for n, w in rows).encode()})


def flat_kaggle(root: Path) -> None:
    rows = zip(VAL, VAL_WNIDS, strict=True)
    lines = [f"{n[:-5]},{w} 1 2 30 40 {w} 5 6 7 8 \n" for n, w in rows]
    text = "ImageId,PredictionString\n" + "".join(reversed(lines))
    write(root, {"LOC_val_solution.csv": text.encode()})


def flat_beside(root: Path) -> None:
    write(root, devkit_files())


def flat_folder(root: Path) -> None:
    write(root / DEVKIT / "data", devkit_files())


@pytest.mark.parametrize(
    "add_labels", [flat_csv, flat_kaggle, flat_beside, flat_folder, write_devkit]
)
def test_a_flat_val_equals_class_folders(
    unpacked: Path, tmp_path: Path, add_labels: Callable[[Path], None]
) -> None:
    root = tmp_path / "flat"
    write(root, {f"train/{key}": data for key, data in TRAIN.items()})
    write(root, {f"val/{name}": name.encode() for name in VAL})
    add_labels(root)
    require_equal(unpacked, root, "val")


def test_labels_that_change_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")
    monkeypatch.setattr("shared.images.kept_listing.FEWEST", 1)
    root = write(tmp_path / "root", {"val/a.jpg": b"", "val/b.jpg": b"", "val.csv": b"a,x\nb,y\n"})
    assert open_source(str(root), "val").labels.tolist() == [0, 1]
    write(root, {"val.csv": b"a,x\nb,xx\n"})
    assert open_source(str(root), "val").classes == ("x", "xx")


FLAT = {"train/x/1.jpg": b"", "train/y/1.jpg": b"", "val/a.jpg": b"", "val/b.jpg": b""}
BESIDE = (
    "{root}/val holds images outside class folders and no labels beside it: found none of val.csv, "
)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, BESIDE + f"LOC_val_solution.csv, {DEVKIT}.tar.gz"),
        (
            {"val.csv": b"a.jpg,x\n"},
            "{root}/val.csv has no label for 1 of 2 images: b.jpg; add them, or remove the images",
        ),
        (
            {"val.csv": b"a.jpg,x\nb.jpg,z\n"},
            "1 labels are not classes of {root}/train: z; correct the file of labels",
        ),
        (
            {"val.csv": b"a.jpg,x\nb.jpg\n"},
            "line 2 of {root}/val.csv is 'b.jpg': write an image and a class, with a comma between",
        ),
        (
            {f"{DEVKIT}.tar.gz": b"no archive"},
            f"{{root}}/{DEVKIT}.tar.gz is not ImageNet's devkit: ",
        ),
        (
            {"ILSVRC2012_validation_ground_truth.txt": b"1\n2\n", "meta.mat": b"nonsense"},
            "ILSVRC2012_validation_ground_truth.txt and meta.mat of {root} are not ImageNet's: ",
        ),
    ],
)
def test_errors_of_flat_folders(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    root = write(tmp_path / "root", {**FLAT, **files})
    with pytest.raises(InputError) as caught:
        open_source(str(root), "val")
    expected = text.format(root=root)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)
    assert expected.endswith(": ") or str(caught.value) == expected
