"""The image sets that torchvision downloads into <data>/<name>: imagenette, cifar10, cifar100.

CIFAR's images are rows of an array. They are presented as PNGs of those pixels with stored
(uncompressed) data, so that the bytes depend on the pixels only, not on the libraries installed.

torchvision is imported inside functions: it imports torch, which takes seconds, and the processes
of pack.py need neither.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import InputError
from shared.images.listing import Ints, Keys, Listing

CIFAR = ("cifar10", "cifar100")
IMAGENETTE_SIZE = "320px"  # the shorter side: enough for crops of 224


@dataclass(frozen=True, slots=True, eq=False)
class CifarReader:
    """Reads CIFAR images as PNGs. Each process loads the array once, unless it inherited it."""

    root: Path
    name: str
    split: str
    rows: Ints  # (N,) rows of the array

    def read(self, index: int) -> bytes:
        return to_png(_load_cifar(self.root, self.name, self.split)[0][self.rows[index]])

    def take(self, index: Ints) -> "CifarReader":
        return CifarReader(self.root, self.name, self.split, self.rows[index])


def list_cifar(root: Path, name: str, split: str) -> Listing:
    """The listing in torchvision's order; a key is a position in that order."""
    _require_split(name, split)
    _download(root, name, lambda folder: _cifar(name)(folder, download=True))
    pixels, labels, classes = _load_cifar(root, name, split)
    keys = Keys.pack(f"{index:05d}.png" for index in range(len(labels)))
    size = len(to_png(pixels[0]))
    return Listing.make(classes, keys, labels, np.full(len(labels), size))


def imagenette_root(data: Path, split: str) -> Path:
    """The root of the ImageFolder, downloaded if it is not there yet."""
    from torchvision import datasets

    _require_split("imagenette", split)
    root = data / "imagenette"
    _download(
        root,
        "imagenette",
        lambda folder: datasets.Imagenette(folder, size=IMAGENETTE_SIZE, download=True),
    )
    return root / f"imagenette2-{IMAGENETTE_SIZE.removesuffix('px')}"


def imagenette_classes(wnids: tuple[str, ...]) -> list[str]:
    """torchvision's first class name for each wnid."""
    from torchvision import datasets

    names: dict[str, tuple[str, ...]] = datasets.Imagenette._WNID_TO_CLASS
    return [names[wnid][0] if wnid in names else wnid for wnid in wnids]


def to_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB -> PNG without filter or compression; at most 65,535 bytes of image data."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a row starts with its filter; 0 is none
    rows[:, 1:] = pixels.reshape(height, -1)
    data = rows.tobytes()
    assert len(data) < 2**16
    # zlib's header, one final stored block (length, inverted length, data), checksum
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    stored += struct.pack(">I", zlib.adler32(data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = [(b"IHDR", header), (b"IDAT", stored), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _cifar(name: str) -> Callable[..., Any]:
    """The class of the set in torchvision."""
    from torchvision import datasets

    kinds: dict[str, Callable[..., Any]] = {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    return kinds[name]


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


@lru_cache(maxsize=4)
def _load_cifar(
    root: Path, name: str, split: str
) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
    """(pixels (N, 32, 32, 3), labels, classes); torchvision checks the MD5 of the files."""
    try:
        loaded = _cifar(name)(root, train=split == "train")
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{root} does not hold {name} as torchvision downloads it: "
            f"{' '.join(str(error).split())} Or remove this folder and it is downloaded again"
        ) from error
    return loaded.data, loaded.targets, loaded.classes


def _require_split(name: str, split: str) -> None:
    if split not in ("train", "val"):
        raise InputError(f"--split must be train or val for {name}, got {split}")


def _download(root: Path, name: str, act: Callable[[Path], object]) -> None:
    """Downloads to a temporary folder and renames it, so `root` is complete or does not exist.

    If several processes download at once, all use the copy that is finished first."""
    if root.exists():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{name}-", dir=root.parent) as temporary:
        folder = Path(temporary, name)
        folder.mkdir()
        try:
            act(folder)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{name} cannot be downloaded into {root}: {type(error).__name__}: "
                f"{' '.join(str(error).split())}; check the network and try again, put the "
                f"files there, or name another source with --images"
            ) from error
        try:
            folder.rename(root)
        except OSError:
            if not root.exists():
                raise
