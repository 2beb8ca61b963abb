"""Caches listings on disk: ImageNet's takes minutes to make on a network disk, a second to read.

    <data>/.listings/<sha256 of kind, place and split>.listing
        version line ending in LF, SHA-256 of the rest (32 bytes), a NumPy .npz

A kept listing is used only if the stamps (`ranges.stamp`) of everything read to make it are
unchanged: every folder of an ImageFolder, every tar, every file of labels. Overwriting a file in
place does not change the stamp of its folder, so the sizes of 1,000 evenly spread files are
compared as well. A single overwritten file among a million will probably be missed; delete the kept
listing in that case.

Of the processes of a machine that need a listing at the same time, one makes it and the others wait
(listing_lock.py). A listing that is too short to keep is made by each of them.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import InputError, note
from shared.files.local import LocalFiles
from shared.files.ranges import is_url, stamp
from shared.files.regular import read_regular, regular_size
from shared.images.listing import Keys, Listing, Places, unreadable
from shared.images.listing_lock import ListingLock
from shared.images.readers import FolderReader

VERSION = b"channel-distillation listing 1\n"
FEWEST = 10_000  # samples: smaller listings are not worth keeping
SAMPLED = 1000  # files whose sizes are compared
ASKED_AT_ONCE = 16  # concurrent requests for stamps of remote files
MAX_BYTES = 1 << 32  # of a kept listing: ImageNet's has 70 million


class Stamps(dict[str, str]):
    """Path -> stamp of everything a listing is made from, taken *before* the path is read."""

    def take(self, path: str | Path) -> None:
        """Raises InputError or StorageError if the path cannot be accessed."""
        try:
            self.setdefault(str(path), stamp(str(path)))
        except OSError as error:
            raise unreadable(str(path), error) from error


def kept_listing(
    folder: Path,
    name: str,
    make: Callable[[Stamps], Listing],
    files: Callable[[Listing], FolderReader] | None = None,
) -> Listing:
    """The listing called `name`, made by `make` if none is kept or it is damaged or out of date.

    files: gives a reader of the samples' files, if each sample is a file of its own.
    """
    path = folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()}.listing"
    if (kept := _kept(path, files)) is not None:
        return kept
    with ListingLock(path.with_suffix(".lock"), name) as lock:
        if lock.waited:
            if (kept := _kept(path, files)) is not None:
                return kept
            if lock.others_list:
                lock.release()
        stamps = Stamps()
        listing = make(stamps)
        if len(listing) < FEWEST or not _keep(path, name, listing, stamps):
            lock.let_others_list()
    return listing


def _kept(path: Path, files: Callable[[Listing], FolderReader] | None) -> Listing | None:
    """The kept listing, if it is there and up to date."""
    found = _read(path)
    if found is not None:
        listing, stamps = found
        if _unchanged(stamps) and (files is None or _same_sizes(listing, files(listing))):
            return listing
    return None


def _keep(path: Path, name: str, listing: Listing, stamps: Stamps) -> bool:
    try:
        LocalFiles(path.parent).write(path.name, _to_bytes(listing, stamps))
    except InputError as error:
        reason = error.__cause__
        note(f"the listing of {name} is not kept: {reason}")
        return False
    return True


def _read(path: Path) -> tuple[Listing, Stamps] | None:
    try:
        data = read_regular(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        data = b""
    if not data.startswith(VERSION):
        if data.startswith(VERSION.rsplit(b" ", 1)[0]):
            return None  # written by another version of this program
    else:
        content = data[len(VERSION) + 32 :]
        if hashlib.sha256(content).digest() == data[len(VERSION) : len(VERSION) + 32]:
            try:
                return _from_bytes(content)
            except Exception:  # NumPy may raise anything for arbitrary bytes
                pass
    note(f"the kept listing {path} is damaged: the source is listed again")
    return None


def _unchanged(stamps: Stamps) -> bool:
    """Local paths are checked one by one (a thousand take milliseconds), URLs in threads."""
    if not any(map(is_url, stamps)):
        try:
            return all(stamp(path) == then for path, then in stamps.items())
        except OSError:  # making the listing again will report the error
            return False
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        return list(threads.map(stamp, stamps)) == list(stamps.values())


def _same_sizes(listing: Listing, files: FolderReader) -> bool:
    count = min(SAMPLED, len(listing))
    try:
        return all(
            regular_size(files.path(index)) == listing.sizes[index]
            for index in (i * len(listing) // count for i in range(count))
        )
    except OSError:
        return False


def _to_bytes(listing: Listing, stamps: Stamps) -> bytes:
    facts: dict[str, Any] = {
        "classes": listing.classes,
        "digest": listing.digest,
        "stamps": stamps,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "text": np.frombuffer(listing.keys.text, np.uint8),
        "ends": listing.keys.ends,
        "labels": listing.labels,
        "sizes": listing.sizes,
    }
    if listing.places is not None:
        facts["paths"] = listing.places.paths
        arrays |= {"tar": listing.places.file, "offset": listing.places.offset}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # mypy takes ** for its allow_pickle
    content = buffer.getvalue()
    return VERSION + hashlib.sha256(content).digest() + content


def _from_bytes(content: bytes) -> tuple[Listing, Stamps]:
    with np.load(io.BytesIO(content)) as arrays:
        facts = json.loads(arrays["facts"].tobytes())
        places = None
        if "paths" in facts:
            places = Places(tuple(facts["paths"]), arrays["tar"], arrays["offset"])
        listing = Listing(
            tuple(facts["classes"]),
            Keys(arrays["text"].tobytes(), arrays["ends"]),
            arrays["labels"],
            arrays["sizes"],
            facts["digest"],
            places,
        )
    shapes = {listing.labels.shape, listing.sizes.shape}
    shapes |= set() if places is None else {places.file.shape, places.offset.shape}
    if shapes != {(len(listing),)}:
        raise ValueError("its arrays differ in length")
    return listing, Stamps(facts["stamps"])
