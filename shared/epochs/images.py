"""The images that views are replayed on, and those of the val split, as a cache names them.

Error messages say which split is missing and how to add it.
"""

from pathlib import Path

from shared.errors import InputError
from shared.images.source import ImageSource, open_source
from shared.records.identity import require_comparable
from shared.store.checks import require_source
from shared.store.opening import Cache, has_split, open_cache

NEITHER = ("train", "val")


def replayed_images(cache: Cache, spec: str | None) -> ImageSource | None:
    """The images of a cache's own split, at `spec` or where they were; None if it has the pixels.

    Raises InputError if the cache is not complete, or was made from other images.
    """
    cache.require_views()
    manifest = cache.manifest
    if manifest.holds_pixels:
        return None
    spec = spec or manifest.source.spec
    source = open_images(spec, manifest.split, limit=manifest.samples)
    require_source(cache, source)
    return source


def val_of_cache(cache: Cache, location: str | Path, spec: str | None) -> ImageSource | Cache:
    """The val split for students of a cache at `location`: its own view shards, unless there are
    none or `spec` names images.

    Raises InputError if there is no val split, or it is not of the same classes.
    """
    manifest = cache.manifest
    if manifest.holds_pixels and not spec and has_split(location, "val"):
        val = open_cache(location, "val")
        val.require_views()
        require_comparable(manifest, val.manifest, val.where)
        return val
    return val_images(spec or manifest.source.spec, manifest.source.classes)


def val_images(spec: str, classes: tuple[str, ...]) -> ImageSource:
    val = open_images(spec, "val")
    if val.classes != classes:
        raise InputError(
            f"train and val of {spec} have different classes: {len(classes)} and "
            f"{len(val.classes)}, or other names; make the folders of both splits the same"
        )
    return val


def open_images(spec: str, split: str, limit: int | None = None) -> ImageSource:
    """open_source, with messages that do not mention --split, which only precompute has."""
    root = Path(spec).expanduser()
    if root.is_dir() and not any((root / name).is_dir() for name in NEITHER):
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        files = any(path.is_file() for path in root.iterdir())
        if folders and not files:
            raise InputError(
                f"{spec} has no train/ and no val/: it holds the folders {_some(folders)}; if they "
                f"are classes, move them into train/ and keep some images of each for val/"
            )
    try:
        return open_source(spec, split, limit)
    except InputError as error:
        if root.is_dir() and not (root / split).is_dir() and str(error).startswith("--split "):
            found = str(error).rpartition(": ")[2]
            raise InputError(
                f"{spec} has no {split} split, which this command needs: {found}; add a folder "
                f"{split}/, or give other --images"
            ) from error
        raise


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names)
