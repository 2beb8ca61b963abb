"""Opens a split of a cache for reading or writing. split.py describes its files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.distributed import read_world
from shared.errors import InputError, note
from shared.files.objects import open_files
from shared.files.protocol import Files
from shared.files.sealed import MOST_BYTES
from shared.formats.format import FORMATS
from shared.images.listing import Keys
from shared.records.identity import require_same
from shared.records.manifest import MANIFEST, Manifest
from shared.records.manifest_json import manifest_json, parse_manifest
from shared.store.head_file import HEAD, encode_head, head_digest
from shared.store.split import Arrays, Cache
from shared.targets.targets import Head

__all__ = [
    "FORMATS",
    "Arrays",
    "Cache",
    "create_cache",
    "has_split",
    "head_digest",
    "keep_additions",
    "open_cache",
    "read_manifest",
]


def has_split(location: str | Path, split: str) -> bool:
    return open_files(location, split).exists(MANIFEST)


def open_cache(location: str | Path, split: str) -> Cache:
    """Opens an existing split for reading. Raises InputError if there is none."""
    files = open_files(location, split)
    if not files.exists(MANIFEST):
        raise no_cache(location, split)
    manifest = read_manifest(files, split)
    _note_order(manifest, f"{files.root}")
    return Cache(files, manifest)


def no_cache(location: str | Path, split: str) -> InputError:
    """The error for a `location` without a manifest of `split`.

    It tells common mistakes apart, so that the user does not build a second cache in a wrong place.
    """
    text = str(location)
    missing = f"--cache must hold {split}/manifest.json: {text} does not"
    if "://" not in text:
        path = Path(text)
        if (path / "manifest.json").exists() and path.name:
            return InputError(
                f"--cache {text} is the folder of one split: give the folder that holds the "
                f"splits, {path.parent}"
            )
        if not path.exists():
            missing = f"--cache must hold {split}/manifest.json: {text} does not exist"
    return InputError(
        f"{missing}; check the path, or make the cache with python precompute/run.py "
        f"--split {split} --images SOURCE --cache {text}"
    )


def read_manifest(files: Files, split: str) -> Manifest:
    """Raises FileNotFoundError if there is no manifest, InputError if it cannot be used."""
    where = f"{files.root}/{MANIFEST}"
    manifest = parse_manifest(files.read(MANIFEST, MOST_BYTES), where)
    FORMATS[manifest.format].check_block_size(manifest.block)
    if manifest.split != split:
        raise InputError(
            f"{where} is of the split {manifest.split!r}, not of the one that its folder is named "
            f"after: rename the folder, or give the --split"
        )
    return manifest


_noted: set[str] = set()  # caches already noted, so that each is noted once per process


def _note_order(manifest: Manifest, where: str) -> None:
    """Notes that training shards are in the order of their source, as version 1 wrote them."""
    if (manifest.format, manifest.order, manifest.split) != ("webdataset", "source", "train"):
        return
    if where not in _noted and read_world().is_first:
        note(
            f"{where} was made by version 1, whose shards follow the order of the source: if that "
            f"is sorted by class, batches are biased; make it again with precompute/run.py"
        )
    _noted.add(where)


def create_cache(
    location: str | Path,
    wanted: Manifest,
    labels: NDArray[np.int64],
    keys: Keys,
    head: Head | None,
) -> Cache:
    """Opens a split for writing: creates it, or adds the views and kinds of `wanted` that it lacks.

    `head` is stored if the codec derives logits, and may be None otherwise. A cache that an earlier
    version created stays at that version. Raises InputError if the existing split was made from
    anything else.
    """
    files = open_files(location, wanted.split)
    files.remove_stale()
    FORMATS[wanted.format].check_block_size(wanted.block)
    parse_manifest(manifest_json(wanted), str(files.root))  # never write an unreadable one
    files.write_new(MANIFEST, manifest_json(wanted))
    there = read_manifest(files, wanted.split)
    wanted = wanted.as_version_of(there)
    require_same(wanted, there, str(files.root))
    # Several processes may do this at once, and one may overwrite what another has just written for
    # more views. A process that wrote anything therefore checks again, until nothing is left to do.
    while True:
        manifest = _union(there, wanted)
        static: dict[str, bytes] = FORMATS[manifest.format].metadata(manifest, labels, keys)
        if manifest.encoding.derives_logits:
            assert head is not None
            static[HEAD] = encode_head(head)
        if not _write(files, static) and manifest == there:
            return Cache(files, manifest)
        there = _raise(files, manifest)


def keep_additions(cache: Cache) -> None:
    """Adds to the files on disk any views and kinds of `cache` that they lack.

    Manifest or array metadata can lack some if a process that added fewer wrote at the same moment,
    or was killed between writing the two.
    """
    mine = cache.manifest
    there = read_manifest(cache.files, mine.split)
    while True:
        wanted = _union(there, mine)
        if not _write(cache.files, cache.format.array_metadata(wanted)) and wanted == there:
            return
        there = _raise(cache.files, wanted)


def _union(there: Manifest, more: Manifest) -> Manifest:
    """`there`, with the views and kinds of `more` added."""
    added = {name: shape for name, shape in more.added.items() if name not in there.added}
    return there.with_views(max(more.views, there.views)).with_added(added)


def _write(files: Files, static: dict[str, bytes]) -> bool:
    """Writes the files in `static` that are missing or differ; returns whether any did."""
    other = {path: data for path, data in static.items() if not _holds(files, path, data)}
    for path, data in other.items():
        files.write(path, data)
    return bool(other)


def _holds(files: Files, path: str, data: bytes) -> bool:
    """Whether a file has this content. False for a FIFO or a file that is far too large."""
    try:
        return files.read(path, max(len(data), MOST_BYTES)) == data
    except (FileNotFoundError, InputError):
        return False


def _raise(files: Files, manifest: Manifest) -> Manifest:
    """Adds the views and kinds of `manifest` to the stored manifest, and returns the result.

    Called after the array metadata were written, so that the manifest never lists a view or kind
    that the arrays have no room for.
    """
    there = read_manifest(files, manifest.split)
    if (wanted := _union(there, manifest)) != there:
        files.write(MANIFEST, manifest_json(wanted))
    return read_manifest(files, manifest.split)
