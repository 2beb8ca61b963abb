"""Lists ImageNet's official archives, so that they need not be unpacked into a million files.

    ILSVRC2012_img_train.tar         a tar of 1,000 tars, n01440764.tar ..., one per class
    ILSVRC2012_img_val.tar           flat; the labels are in a file beside it (val_labels.py),
    ILSVRC2012_devkit_t12.tar.gz     preferably this one

Headers are read once; images are then read at their offsets. Classes, keys, labels and digest equal
those of the unpacked ImageFolder, so a cache made from one can be used with the other.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shared.errors import InputError
from shared.files.regular import open_regular
from shared.files.retry import patiently_local
from shared.files.tar import Member, members
from shared.images.folder import require_images
from shared.images.kept_listing import Stamps
from shared.images.listing import Keys, Listing, Places, is_image, unreadable
from shared.images.val_labels import class_names, read_labels


def official_tar(root: Path, split: str) -> Path:
    return root / f"ILSVRC2012_img_{split}.tar"


def list_official(root: Path, split: str, stamps: Stamps) -> Listing:
    """Raises InputError if a tar is damaged or labels are missing."""
    path = official_tar(root, split)
    make = _list_train if split == "train" else _list_flat
    try:
        return patiently_local(str(path), lambda: make(root, path, split, stamps))
    except OSError as error:
        raise unreadable(str(path), error) from error


def _list_train(root: Path, path: Path, split: str, stamps: Stamps) -> Listing:
    found: list[tuple[str, str, Member]] = []
    stamps.take(path)
    with open_regular(path) as file:
        tars = sorted(_class_tars(path), key=lambda tar: _class(tar))
        for tar in tars:
            inside = members(file, f"{path}: {tar.name}", tar.offset, tar.offset + tar.size)
            found += _images(_class(tar), inside)
    classes = [_class(tar) for tar in tars]
    full = {name for name, _, _ in found}
    require_images([name for name in classes if name not in full], classes, path)
    return _listing(path, classes, found)


def _list_flat(root: Path, path: Path, split: str, stamps: Stamps) -> Listing:
    stamps.take(path)
    with open_regular(path) as file:
        found = _images("", members(file, str(path)))
    names = read_labels(root, split, [name for _, name, _ in found], stamps)
    train, classes = official_tar(root, "train"), None
    if train.is_file():
        stamps.take(train)
        classes = sorted(map(_class, _class_tars(train)))
    labelled = [(name, file, at) for name, (_, file, at) in zip(names, found, strict=True)]
    return _listing(path, class_names(names, classes, train), sorted(labelled))


def _class_tars(path: Path) -> list[Member]:
    """The tars in the training archive, one per class. Raises InputError if there are none."""
    with open_regular(path) as file:
        tars = [member for member in members(file, str(path)) if member.name.endswith(".tar")]
    if not tars:
        raise InputError(
            f"there is no tar in {path}: the training archive of ImageNet is a tar of tars, one a "
            f"class"
        )
    return tars


def _class(tar: Member) -> str:
    return Path(tar.name).stem


def _images(name: str, inside: Iterable[Member]) -> list[tuple[str, str, Member]]:
    """(class, file name, member) of each image, in the order of an ImageFolder."""
    files = ((Path(member.name).name, member) for member in inside)
    return sorted((name, file, member) for file, member in files if is_image(file))


def _listing(path: Path, classes: list[str], found: list[tuple[str, str, Member]]) -> Listing:
    position = {name: label for label, name in enumerate(classes)}
    offset = np.array([at.offset for _, _, at in found], np.int64)
    return Listing.make(
        classes,
        Keys.pack(f"{name}/{file}" for name, file, _ in found),
        [position[name] for name, _, _ in found],
        [at.size for _, _, at in found],
        Places((str(path),), np.zeros(len(found), np.int32), offset),
    )
