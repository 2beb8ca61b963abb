"""An image source: samples in a fixed order, each a key, encoded bytes and a label.

A cache is joined to its images by position in this order, and `digest` proves that the order is the
same one: SHA-256 over the class names and then every sample's key, label and size in bytes, as

    "classes" (NUL name)* LF  then for each sample  key NUL label NUL size LF

with names and keys in the bytes that the file system holds and numbers in decimal. Names contain no
NUL, so that two listings never read the same. Where the folder lies does not enter, nor do pixels:
reading 150 GB to start would be too much, and checksums of a few views stand in the manifest.

An ImageFolder's order is torchvision's, with one difference: names that start with a dot are
skipped (`.ipynb_checkpoints` as a class, macOS's `._x.jpg` as an image are nobody's wish).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.digits import SIDE, write_digits
from shared.errors import InputError

DATA = Path(__file__).resolve().parents[1] / "data"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """A sequence of str in one buffer: ImageNet's 1.28 million fill 50 MB, a tuple 110 MB.

    A loader worker gets it as two memory copies, and forked ones share it: there is no reference
    count an element to touch.
    """

    text: bytes  # every key, then LF
    ends: npt.NDArray[np.int64]  # (N + 1,): key i and its LF are text[ends[i] : ends[i + 1]]

    @classmethod
    def pack(cls, keys: Iterable[str]) -> "Keys":
        lines = [os.fsencode(key) + b"\n" for key in keys]
        return cls(b"".join(lines), np.cumsum([0, *map(len, lines)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]  # IndexError past the end, negative from the end
        return os.fsdecode(self.text[self.ends[index] : self.ends[index + 1] - 1])

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """An open source. Plain data, cheap to send to loader workers; no file stays open."""

    spec: str  # as the user gave it
    split: str
    folder: str  # absolute; keys are relative to it
    keys: Keys  # e.g. n01440764/n01440764_10026.JPEG
    labels: npt.NDArray[np.int64]  # (N,) position in `classes`
    classes: tuple[str, ...]  # folder names, sorted
    digest: str  # hex; see the top of this file
    policy: str | None  # how views are drawn here unless told otherwise; None: no opinion
    size: int | None  # side in pixels of what the network sees, likewise

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded bytes of one sample. Raises: InputError if the file can no longer be read."""
        path = f"{self.folder}/{self.keys[index]}"
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise _unreadable(path, error) from error

    def key_digest(self, start: int, stop: int) -> str:
        """Hex SHA-256 of the keys of samples start..stop (half-open), each followed by LF."""
        begin, end = self.keys.ends[start], self.keys.ends[stop]
        return hashlib.sha256(self.keys.text[begin:end]).hexdigest()


def default_source() -> str:
    """The repository's data/imagenet where it exists, else the built-in digits."""
    imagenet = DATA / "imagenet"
    return str(imagenet) if imagenet.is_dir() else "digits"


def open_source(spec: str, split: str, limit: int | None = None) -> ImageSource:
    """Lists one split of an ImageFolder root (a folder that holds `train/` and `val/`) or `digits`.

    limit: keep min(limit, N) of the N samples, evenly spaced (number i is sample i * N // limit of
    the whole), because the order is by class and the first ones would all be of one. `digest`
    covers those kept; `classes` stay all.
    A folder that is called digits is ./digits.

    Raises: InputError if the folder or the split is missing, there are no images, a class has none,
    a file cannot be read, or limit < 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    policy, size = None, None
    root = Path(spec).expanduser().absolute()
    if spec == "digits":
        root, policy, size = DATA / "digits", "pad-crop", SIDE
        write_digits(root)
    folder = _split_folder(spec, root, split)
    classes, keys, labels = _list_samples(folder)
    if limit is not None and limit < len(keys):
        kept = [i * len(keys) // limit for i in range(limit)]
        keys, labels = [keys[i] for i in kept], [labels[i] for i in kept]
    return ImageSource(
        spec=spec,
        split=split,
        folder=str(folder),
        keys=Keys.pack(keys),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(classes),
        digest=_digest(folder, classes, keys, labels),
        policy=policy,
        size=size,
    )


def _split_folder(spec: str, root: Path, split: str) -> Path:
    if not root.is_dir():
        raise InputError(
            f"--images must be a folder that holds train/ and val/, or digits; got {spec}: "
            "no such folder"
        )
    splits, _ = _scan(root)
    if split not in splits:
        raise InputError(
            f"--split must be a folder in {root}, got {split}: "
            f"found {', '.join(splits) or 'no folders'}"
        )
    return root / split


def _list_samples(folder: Path) -> tuple[list[str], list[str], list[int]]:
    """(classes, keys, labels) in torchvision's order: classes, then folders below, then names."""
    classes, _ = _scan(folder)
    keys: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        before = len(keys)
        for below, files in sorted(_walk(folder, name)):
            keys += [f"{below}/{file}" for file in files if file.lower().endswith(EXTENSIONS)]
        labels += [label] * (len(keys) - before)
        if len(keys) == before:
            empty.append(name)
    rule = f"an ImageFolder split holds <class>/<name> ending in {', '.join(EXTENSIONS)}"
    if not keys:
        raise InputError(f"{rule}; got no images in {folder}")
    if empty:
        names = [*empty[:5], "..."] if len(empty) > 5 else empty
        raise InputError(
            f"{rule}; got {len(empty)} of {len(classes)} classes without images in {folder}: "
            f"{', '.join(names)}"
        )
    return classes, keys, labels


def _walk(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """(path relative to `folder`, files) of `name` and every folder below; links are followed."""
    folders, files = _scan(folder / name)
    yield name, files
    for child in folders:
        yield from _walk(folder, f"{name}/{child}")


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the files in it, without those that start with a dot."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise _unreadable(str(folder), error) from error
    return sorted(folders), sorted(files)


def _digest(folder: Path, classes: list[str], keys: list[str], labels: list[int]) -> str:
    digest = hashlib.sha256(b"\0".join(map(os.fsencode, ["classes", *classes])) + b"\n")
    for key, label in zip(keys, labels, strict=True):
        path = f"{folder}/{key}"
        try:
            num_bytes = os.stat(path).st_size
        except OSError as error:
            raise _unreadable(path, error) from error
        digest.update(b"%b\0%d\0%d\n" % (os.fsencode(key), label, num_bytes))
    return digest.hexdigest()


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"every image must be readable, got {path}: {error.strerror}")
