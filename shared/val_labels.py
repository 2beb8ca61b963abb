"""The labels of images that do not lie in class folders, from a file beside them:

val.csv                  file name, class name
LOC_val_solution.csv     Kaggle's: ImageId,PredictionString, which starts with the class name
ILSVRC2012_devkit_t12.tar.gz, or unpacked: ILSVRC2012_devkit_t12/data/, or its two files alone:
                         ILSVRC2012_validation_ground_truth.txt (line i: class number of image
                         ILSVRC2012_val_<i>) and meta.mat (class number -> wnid)
"""

import csv
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.errors import InputError
from shared.kept_listing import Stamps
from shared.listing import shortened

TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
DEVKIT = "ILSVRC2012_devkit_t12"


def read_labels(root: Path, split: str, files: Sequence[str], stamps: Stamps) -> list[str]:
    """The class name of each file.

    Raises: InputError if there is no file of labels, it is damaged or says nothing of an image.
    """
    where, table = _read_table(root, split, stamps)
    found = [table.get(file) or table.get(Path(file).stem) for file in files]
    missing = [file for file, name in zip(files, found, strict=True) if name is None]
    if missing:
        raise InputError(
            f"every image needs a label: {where} has none for {len(missing)} of {len(files)}: "
            f"{shortened(missing)}"
        )
    return [name for name in found if name is not None]


def class_names(found: Sequence[str], train: list[str] | None, where: Path) -> list[str]:
    """The classes in order: those of the training images, or all that were found without any.

    Raises: InputError for a label that is no class of the training images.
    """
    names = sorted(set(found))
    if train is None:
        return names
    if unknown := sorted(set(names) - set(train)):
        raise InputError(
            f"labels must be classes of {where}: got {len(unknown)} that are not: "
            f"{shortened(unknown)}"
        )
    return train


def _read_table(root: Path, split: str, stamps: Stamps) -> tuple[Path, dict[str, str]]:
    """(where from, file name with or without extension -> class name)."""
    table, kaggle = root / f"{split}.csv", root / f"LOC_{split}_solution.csv"
    for path in (table, kaggle):
        if path.is_file():
            stamps.take(path)
            return path, _read_csv(path, is_kaggle=path == kaggle)
    if split == "val":
        for folder in (root, root / DEVKIT / "data"):
            if (folder / TRUTH).is_file() and (folder / META).is_file():
                stamps.take(folder / TRUTH)
                stamps.take(folder / META)
                truth, meta = (folder / TRUTH).read_bytes(), (folder / META).read_bytes()
                return folder, _from_devkit(truth, meta, folder)
        archive = root / f"{DEVKIT}.tar.gz"
        if archive.is_file():
            stamps.take(archive)
            return archive, _from_devkit(*_unpack(archive), archive)
    raise InputError(
        f"images outside class folders need their labels beside {root / split}: found none of "
        f"{table.name}, {kaggle.name}" + (f", {DEVKIT}.tar.gz" if split == "val" else "")
    )


def _read_csv(path: Path, is_kaggle: bool) -> dict[str, str]:
    table = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or (number == 1 and is_kaggle):
                continue
            if len(row) != 2 or not row[0].strip() or not row[1].strip():
                raise InputError(
                    f"every line of a file of labels holds an image and a class, with a comma "
                    f"between: got {','.join(row)[:80]!r} in line {number} of {path}"
                )
            name = row[1].split()[0] if is_kaggle else row[1].strip()
            table[row[0].strip()] = name
    return table


def _unpack(archive: Path) -> tuple[bytes, bytes]:
    """(ground truth, meta.mat)"""
    wanted: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if name in (TRUTH, META) and (file := tar.extractfile(member)) is not None:
                    wanted[name] = file.read()
        return wanted[TRUTH], wanted[META]
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise InputError(
            f"the devkit must be a sound archive with {TRUTH} and {META}: {archive}: "
            f"{' '.join(str(error).split())}"
        ) from error


def _from_devkit(truth: bytes, meta: bytes, where: Path) -> dict[str, str]:
    from scipy.io import loadmat  # type: ignore[import-untyped]  # here: rarely needed, 0.3 s

    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        wnids = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"])
            for synset in synsets
            if int(synset["num_children"]) == 0  # the others are groups of classes
        }
        return {
            f"ILSVRC2012_val_{number:08d}": wnids[int(line)]
            for number, line in enumerate(truth.split(), 1)
        }
    except Exception as error:  # on corrupt bytes scipy raises just about anything
        raise InputError(
            f"{TRUTH} and {META} of {where} must be ImageNet's: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:100]}"
        ) from error
