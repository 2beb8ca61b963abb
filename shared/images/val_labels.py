"""Reads the labels of images that are not in class folders from a file beside them.

The first of these that exists is used:

val.csv                  file name, class name
LOC_val_solution.csv     from Kaggle: ImageId,PredictionString, which starts with the class name
ILSVRC2012_devkit_t12.tar.gz, or unpacked as ILSVRC2012_devkit_t12/data/, or only its two files:
                         ILSVRC2012_validation_ground_truth.txt (line i: class number of image
                         ILSVRC2012_val_<i>) and meta.mat (class number -> wnid)
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.errors import InputError
from shared.files.regular import read_regular
from shared.files.retry import patiently_local
from shared.files.tar import members
from shared.images.kept_listing import Stamps
from shared.images.listing import shortened, unreadable

TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
DEVKIT = "ILSVRC2012_devkit_t12"
MAX_TABLE = 1 << 28  # bytes: Kaggle's table of the 1.28 million training images has 50 million
MAX_DEVKIT = 1 << 26  # bytes: limit for the unpacked devkit and each of its files; it has 3 million


def read_labels(root: Path, split: str, files: Sequence[str], stamps: Stamps) -> list[str]:
    """The class name of each file.

    Raises InputError if there is no file of labels, or it is damaged or lacks an image.
    """
    where, table = _read_table(root, split, stamps)
    found = [table.get(file) or table.get(Path(file).stem) for file in files]
    missing = [file for file, name in zip(files, found, strict=True) if name is None]
    if missing:
        raise InputError(
            f"{where} has no label for {len(missing)} of {len(files)} images: "
            f"{shortened(missing)}; add them, or remove the images"
        )
    return [name for name in found if name is not None]


def class_names(found: Sequence[str], train: list[str] | None, where: Path) -> list[str]:
    """The classes in order: `train`, or if that is None, the sorted names in `found`.

    Raises InputError if a label is not one of the classes in `train`.
    """
    names = sorted(set(found))
    if train is None:
        return names
    if unknown := sorted(set(names) - set(train)):
        raise InputError(
            f"{len(unknown)} labels are not classes of {where}: {shortened(unknown)}; correct the "
            f"file of labels"
        )
    return train


def _read_table(root: Path, split: str, stamps: Stamps) -> tuple[Path, dict[str, str]]:
    """(path that was read, {file name with or without extension: class name})."""
    table, kaggle = root / f"{split}.csv", root / f"LOC_{split}_solution.csv"
    for path in (table, kaggle):
        if os.path.lexists(path):
            stamps.take(path)
            return path, _read_csv(path, is_kaggle=path == kaggle)
    if split == "val":
        for folder in (root, root / DEVKIT / "data"):
            if os.path.lexists(folder / TRUTH) and os.path.lexists(folder / META):
                stamps.take(folder / TRUTH)
                stamps.take(folder / META)
                truth = _read(folder / TRUTH, MAX_DEVKIT)
                return folder, _from_devkit(truth, _read(folder / META, MAX_DEVKIT), folder)
        archive = root / f"{DEVKIT}.tar.gz"
        if os.path.lexists(archive):
            stamps.take(archive)
            return archive, _from_devkit(*_unpack(archive), archive)
    raise InputError(
        f"{root / split} holds images outside class folders and no labels beside it: found none of "
        f"{table.name}, {kaggle.name}" + (f", {DEVKIT}.tar.gz" if split == "val" else "")
    )


def _read(path: Path, limit: int) -> bytes:
    try:
        return patiently_local(str(path), lambda: read_regular(path, limit))
    except OSError as error:
        raise unreadable(str(path), error) from error


def _read_csv(path: Path, is_kaggle: bool) -> dict[str, str]:
    data = _read(path, MAX_TABLE)
    table = {}
    try:
        text = data.decode("utf-8-sig")
        # strict, because otherwise a quote that is never closed swallows the rest of the file
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        for number, row in enumerate(rows, 1):
            if not row or (number == 1 and is_kaggle):
                continue
            fields = [field.strip() for field in row]
            if len(row) != 2 or not all(fields) or not all(map(str.isprintable, fields)):
                raise InputError(
                    f"line {number} of {path} is {','.join(row)[:80]!r}: write an image and a "
                    f"class, with a comma between"
                )
            table[fields[0]] = fields[1].split()[0] if is_kaggle else fields[1]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start:,} is {data[error.start]:#04x}; save it "
            f"as UTF-8"
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{path} is not a sound CSV file: {error} in line {rows.line_num}; correct it"
        ) from error
    return table


def _unpack(archive: Path) -> tuple[bytes, bytes]:
    """(ground truth, meta.mat)"""
    data = _read(archive, MAX_DEVKIT)
    wanted: dict[str, bytes] = {}
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_DEVKIT + 1)
        if len(data) > MAX_DEVKIT:
            raise InputError(f"it is larger than {MAX_DEVKIT:,} bytes")
        for member in members(io.BytesIO(data), archive.name):
            name = member.name.rsplit("/", 1)[-1]
            if name in (TRUTH, META):
                wanted[name] = data[member.offset : member.offset + member.size]
        return wanted[TRUTH], wanted[META]
    except (InputError, EOFError, OSError, zlib.error, KeyError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{archive} is not ImageNet's devkit: {' '.join(what.split())}; fetch it again"
        ) from error


def _require_bounded(mat: bytes) -> None:
    """Raises ValueError if the compressed parts of a MATLAB 5 file are too large when unpacked.

    The file has a header of 128 bytes, then elements: 4 bytes of type, 4 of length (both little
    endian), data. Type 15 is compressed with zlib; scipy would unpack it whatever its size.
    """
    place, left = 128, MAX_DEVKIT
    while place + 8 <= len(mat):
        kind = int.from_bytes(mat[place : place + 4], "little")
        length = int.from_bytes(mat[place + 4 : place + 8], "little")
        if kind == 15:
            unpacker = zlib.decompressobj()
            left -= len(unpacker.decompress(mat[place + 8 : place + 8 + length], left + 1))
            if left < 0:
                raise ValueError(f"more than {MAX_DEVKIT:,} bytes when unpacked")
        place += 8 + length


def _from_devkit(truth: bytes, meta: bytes, where: Path) -> dict[str, str]:
    from scipy.io import loadmat  # type: ignore[import-untyped]  # here: takes 0.3 s, rarely needed

    try:
        _require_bounded(meta)
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        wnids = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"])
            for synset in synsets
            if int(synset["num_children"]) == 0  # the rest are groups of classes
        }
        return {
            f"ILSVRC2012_val_{number:08d}": wnids[int(line)]
            for number, line in enumerate(truth.split(), 1)
        }
    except Exception as error:  # on corrupt bytes scipy raises just about anything
        raise InputError(
            f"{TRUTH} and {META} of {where} are not ImageNet's: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:100]}; fetch them again"
        ) from error
