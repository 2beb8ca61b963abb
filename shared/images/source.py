"""Opens image sources: samples in a fixed order, each with a key, encoded bytes and a label.

    FOLDER with train/ and val/      an ImageFolder; val may be flat  (folder.py)
    FOLDER with ILSVRC2012_img_*.tar ImageNet's official archives  (ilsvrc.py)
    FOLDER with tars, or a pattern   WebDataset, local or at a URL  (tars.py)
    imagenette, cifar10, cifar100    downloaded by torchvision  (torchvision_sets.py)
    digits                           built in, needs no network  (digits.py)

A folder is tried in the order of the first three lines. Listings (listing.py) of folders and tars
are kept on disk (kept_listing.py).
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import InputError
from shared.files.ranges import absolute
from shared.images.digits import SIDE, write_digits
from shared.images.folder import is_flat, list_folder, scan
from shared.images.ilsvrc import list_official, official_tar
from shared.images.kept_listing import kept_listing
from shared.images.listing import Keys, Listing, shown
from shared.images.readers import FolderReader, TarReader
from shared.images.tar_patterns import folder_shards, is_pattern, pattern_shards
from shared.images.tars import list_shards
from shared.images.torchvision_sets import (
    CIFAR,
    CifarReader,
    imagenette_classes,
    imagenette_root,
    list_cifar,
)

__all__ = ["ImageSource", "Keys", "default_source", "open_source"]

DATA = Path(__file__).resolve().parents[2] / "data"
LISTINGS = ".listings"  # in DATA

Reader = FolderReader | TarReader | CifarReader


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """An open source: plain data that is cheap to send to loader workers, with no open files."""

    spec: str  # as the user gave it
    split: str
    keys: Keys  # e.g. n01440764/n01440764_10026.JPEG
    labels: npt.NDArray[np.int64]  # (N,) position in `classes`
    classes: tuple[str, ...]  # e.g. folder names, sorted
    digest: str  # hex; see listing.py
    reader: Reader
    policy: str | None  # default view policy of this source; None: it has none
    size: int | None  # default side of the network's input in pixels; None: it has none

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded bytes of one sample.

        Raises BadImage if the file cannot be an image, InputError or StorageError if the source
        fails (readers.py).
        """
        return self.reader.read(index)


def default_source() -> str:
    """The repository's data/imagenet if it exists, else the built-in digits."""
    imagenet = DATA / "imagenet"
    return str(imagenet) if imagenet.is_dir() else "digits"


def open_source(spec: str, split: str, limit: int | None = None) -> ImageSource:
    """Lists one split of a source; see the top of this file for `spec`.

    limit: keep min(limit, N) of the N samples, evenly spaced (sample i * N // limit for each i),
    because samples are sorted by class and the first ones would all be of one class. `digest`
    covers the samples kept; `classes` stays complete.
    To open a folder that has the name of a built-in set, write ./digits, ./cifar10, ...

    Raises InputError if the folder or the split is missing, there are no images, a class has none,
    a file cannot be read, a download fails, or limit < 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    policy, size = None, None
    if spec in CIFAR:
        policy, size = "pad-crop", 32
        listing = list_cifar(DATA / spec, spec, split)
    elif spec == "imagenette":
        policy, size = "random-resized-crop", 224
        root = imagenette_root(DATA, split)
        listing = _list_root(spec, root, split)
        listing = listing.renamed(imagenette_classes(listing.classes))
    elif spec == "digits":
        policy, size = "pad-crop", SIDE
        root = DATA / "digits"
        write_digits(root)
        listing = _list_root(spec, root, split)
    elif is_pattern(spec):
        listing = _list_tars(spec, pattern_shards(spec, split))
    else:
        root = absolute(spec)
        listing = _list_root(spec, root, split)
    kept = np.arange(len(listing))
    if limit is not None and limit < len(listing):
        kept = np.arange(limit) * len(listing) // limit
        listing = listing.take(kept)
    reader: Reader
    if spec in CIFAR:
        reader = CifarReader(DATA / spec, spec, split, kept)
    elif listing.places is not None:
        reader = TarReader(listing.places, listing.sizes)
    else:
        reader = _folder_reader(root / split, listing)
    return ImageSource(
        spec=spec,
        split=split,
        keys=listing.keys,
        labels=listing.labels,
        classes=listing.classes,
        digest=listing.digest,
        reader=reader,
        policy=policy,
        size=size,
    )


def _list_root(spec: str, root: Path, split: str) -> Listing:
    """The listing of a split in a folder."""
    if not os.path.isdir(root):  # also False for names that are too long or not accessible
        raise InputError(
            f"--images must be a folder that holds train/ and val/, a pattern of tars, imagenette, "
            f"cifar10, cifar100 or digits; got {shown(spec)}: no such folder"
        )
    splits, files = scan(root)
    if split in splits:
        folder = root / split
        return kept_listing(
            DATA / LISTINGS,
            f"the folder {folder}",
            partial(list_folder, root, split),
            partial(_folder_reader, folder),
        )
    if official_tar(root, split).name in files:
        name = f"the archive {official_tar(root, split)}"
        return kept_listing(DATA / LISTINGS, name, partial(list_official, root, split))
    if shards := folder_shards(root, split):
        return _list_tars(spec, shards)
    tars = f"; no tars of {split} among its files" if any(f.endswith(".tar") for f in files) else ""
    raise InputError(
        f"--split must be a folder in {root}, got {split}: "
        f"found {', '.join(splits) or 'no folders'}{tars}"
    )


def _list_tars(spec: str, paths: list[str]) -> Listing:
    name = f"the {len(paths)} tars {paths[0]} to {paths[-1]} of {spec}"
    return kept_listing(DATA / LISTINGS, name, partial(list_shards, paths))


def _folder_reader(folder: Path, listing: Listing) -> FolderReader:
    return FolderReader(str(folder), listing.keys, is_flat(folder))
