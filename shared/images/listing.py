"""The listing of a source: its classes, and each sample's key, label and size, in a fixed order.

A cache refers to images by position in this order. `digest` identifies the order: it is the SHA-256
of the class names and of every sample's key, label and size in bytes, written as

    "classes" (NUL name)* LF  then for each sample  key NUL label NUL size LF

with names and keys as the file system's bytes and numbers in decimal. Names contain no NUL, so two
different listings never give the same text. The location of the images is not part of it, and
neither are their pixels: reading 150 GB at start-up would take too long, and the receipts have
checksums of a few views.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """A sequence of str in one buffer: ImageNet's 1.28 million keys take 50 MB, a tuple 110 MB.

    Pickling it for a loader worker copies two buffers. Forked workers share its memory, because
    there are no reference counts per element that would cause pages to be copied.
    """

    text: bytes  # every key followed by LF
    ends: Ints  # (N + 1,): key i and its LF are text[ends[i] : ends[i + 1]]

    @classmethod
    def pack(cls, keys: Iterable[str]) -> "Keys":
        lines = [os.fsencode(key) + b"\n" for key in keys]
        return cls(b"".join(lines), np.cumsum([0, *map(len, lines)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]  # negative indices and IndexError as in a list
        return os.fsdecode(self.text[self.ends[index] : self.ends[index + 1] - 1])

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def take(self, index: Ints) -> "Keys":
        return Keys.pack(self[i] for i in index.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The tar and the offset of each sample's bytes."""

    paths: tuple[str, ...]  # local or URL
    file: npt.NDArray[np.int32]  # (N,) position in `paths`
    offset: Ints  # (N,) bytes

    def take(self, index: Ints) -> "Places":
        return Places(self.paths, self.file[index], self.offset[index])


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    classes: tuple[str, ...]
    keys: Keys
    labels: Ints  # (N,) position in `classes`
    sizes: Ints  # (N,) bytes; -1 for something that is not a regular file
    digest: str  # hex; see the top of this file
    places: Places | None = None  # None unless the samples are in tars

    @classmethod
    def make(
        cls,
        classes: Sequence[str],
        keys: Keys,
        labels: Sequence[int] | Ints,
        sizes: Sequence[int] | Ints,
        places: Places | None = None,
    ) -> "Listing":
        labels, sizes = np.array(labels, np.int64), np.array(sizes, np.int64)
        digest = _digest(classes, keys, labels, sizes)
        return cls(tuple(classes), keys, labels, sizes, digest, places)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: Ints) -> "Listing":
        """A listing of these samples, with its own digest and all classes."""
        places = None if self.places is None else self.places.take(index)
        keys = self.keys.take(index)
        return Listing.make(self.classes, keys, self.labels[index], self.sizes[index], places)

    def renamed(self, classes: Sequence[str]) -> "Listing":
        """The same samples under other class names."""
        digest = _digest(classes, self.keys, self.labels, self.sizes)
        return replace(self, classes=tuple(classes), digest=digest)


def is_image(name: str) -> bool:
    """Whether the name is that of an image. Hidden files (macOS's `._x.jpg`) do not count."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def unreadable(path: str, error: OSError) -> InputError:
    missing = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    return InputError(
        f"{shown(path)} cannot be read: {error.strerror or missing}; put it back, or allow it to "
        f"be read"
    )


def shown(name: str) -> str:
    """Any name as one short printable line."""
    name = name if name.isprintable() else repr(name)[1:-1]
    return name if len(name) <= 200 else f"{name[:200]}..."


def shortened(names: Sequence[str]) -> str:
    """At most five of the names, for messages."""
    return ", ".join([*map(shown, names[:5]), *(["..."] if len(names) > 5 else [])])


def _digest(classes: Sequence[str], keys: Keys, labels: Ints, sizes: Ints) -> str:
    digest = hashlib.sha256(b"\0".join(map(os.fsencode, ["classes", *classes])) + b"\n")
    starts = keys.ends.tolist()
    for begin, end, label, size in zip(
        starts, starts[1:], labels.tolist(), sizes.tolist(), strict=False
    ):
        digest.update(b"%b\0%d\0%d\n" % (keys.text[begin : end - 1], label, size))
    return digest.hexdigest()
