"""Lists one split of an ImageFolder: <folder>/<class>/.../<name>, or all images in <folder> itself.

The order is torchvision's, except that names starting with a dot are skipped: `.ipynb_checkpoints`
as a class or macOS's `._x.jpg` as an image is nearly always a mistake.

Every entry with the name of an image is listed. If it is not a regular file (a FIFO, a dangling
link) its size is -1: the listing does not fail, and reading the sample gives a bad image.

A flat folder (ImageNet's val after unpacking) takes its labels from a file beside it
(val_labels.py). It is listed as if the images were in class folders: same keys, order and digest.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from shared.errors import InputError
from shared.files.regular import regular_size
from shared.files.retry import patiently_local
from shared.images.kept_listing import Stamps
from shared.images.listing import EXTENSIONS, Keys, Listing, is_image, shortened, unreadable
from shared.images.val_labels import class_names, read_labels

RULE = f"an ImageFolder split holds <class>/<name> ending in {', '.join(EXTENSIONS)}"


def list_folder(root: Path, split: str, stamps: Stamps) -> Listing:
    """Raises InputError if there are no images, a class has none, or a file cannot be read."""
    folder = root / split
    if is_flat(folder):
        return _list_flat(root, split, stamps)
    stamps.take(folder)
    classes, _ = scan(folder)
    keys: list[str] = []
    labels: list[int] = []
    sizes: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        before = len(keys)
        for below, files in sorted(_walk(folder, name, stamps)):
            keys += [f"{below}/{file}" for file in files if is_image(file)]
        labels += [label] * (len(keys) - before)
        if len(keys) == before:
            empty.append(name)
    if not keys:
        raise InputError(f"there are no images in {folder}: {RULE}")
    require_images(empty, classes, folder)
    sizes = [_size(f"{folder}/{key}") for key in keys]
    return Listing.make(classes, Keys.pack(keys), labels, sizes)


def is_flat(folder: Path) -> bool:
    """Whether it has images but no class folders. A folder called `x.jpg` is not a class here."""
    folders, files = scan(folder)
    return all(map(is_image, folders)) and any(map(is_image, files))


def scan(folder: Path) -> tuple[list[str], list[str]]:
    """The sorted names of the folders and of the files in it, without those that start with "."."""

    def scan_once() -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if _is_folder(entry) else files).append(entry.name)
        return sorted(folders), sorted(files)

    try:
        return patiently_local(str(folder), scan_once)
    except OSError as error:
        raise unreadable(str(folder), error) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that points to itself
            return False
        raise


def require_images(empty: list[str], classes: list[str], where: Path) -> None:
    if empty:
        raise InputError(
            f"{len(empty)} of {len(classes)} classes in {where} have no images: "
            f"{shortened(empty)}; {RULE}"
        )


def _list_flat(root: Path, split: str, stamps: Stamps) -> Listing:
    folder = root / split
    stamps.take(folder)
    files = [file for file in scan(folder)[1] if is_image(file)]
    train = root / "train"
    classes = None
    if train.is_dir() and split != "train":
        stamps.take(train)
        classes = scan(train)[0] or None
    found = read_labels(root, split, files, stamps)
    names = class_names(found, classes, train)
    keys = sorted(zip(found, files, strict=True))  # by class, then by name
    position = {name: label for label, name in enumerate(names)}
    return Listing.make(
        names,
        Keys.pack(f"{name}/{file}" for name, file in keys),
        [position[name] for name, _ in keys],
        [_size(f"{folder}/{file}") for _, file in keys],
    )


def _walk(folder: Path, name: str, stamps: Stamps) -> Iterator[tuple[str, list[str]]]:
    """(path relative to `folder`, files) for `name` and every folder below it; follows links.

    Raises InputError if a folder contains itself through a link.
    """
    Place = tuple[int, int]
    waiting: list[tuple[str, frozenset[Place]]] = [(name, frozenset())]
    while waiting:
        below, above = waiting.pop()
        stamps.take(folder / below)
        place = _place(folder / below)
        if place in above:
            raise InputError(
                f"{folder / below} is a link to a folder that contains it; remove the link"
            )
        folders, files = scan(folder / below)
        yield below, files
        waiting += [(f"{below}/{child}", above | {place}) for child in folders]


def _place(folder: Path) -> tuple[int, int]:
    """(device, inode): identifies a folder."""
    try:
        status = patiently_local(str(folder), lambda: os.stat(folder))
    except OSError as error:
        raise unreadable(str(folder), error) from error
    return status.st_dev, status.st_ino


def _size(path: str) -> int:
    try:
        return patiently_local(path, lambda: regular_size(path))
    except OSError as error:
        raise unreadable(path, error) from error
