"""Finds the tars of a split, in a folder or from a pattern with braces (local or at a URL)."""

import posixpath
import re
from pathlib import Path

from shared.errors import InputError
from shared.files.drivers import require_driver
from shared.files.ranges import absolute, is_url
from shared.files.regular import regular_size
from shared.files.retry import patiently_local
from shared.images.braces import expand
from shared.images.listing import shown

ALIASES = {"val": ("val", "validation")}


def is_pattern(spec: str) -> bool:
    return spec.endswith(".tar") or is_url(spec)


def folder_shards(root: Path, split: str) -> list[str]:
    """The tars in a folder that belong to the split; [] if there are none."""
    names = sorted(path.name for path in root.glob("*.tar") if not path.name.startswith("."))
    return [str(root / name) for name in names if _belongs(name, split)]


def pattern_shards(spec: str, split: str) -> list[str]:
    """The tars that a pattern names for the split.

    Raises InputError if there are none, a local one does not exist, or there is no driver for the
    URL.
    """
    if is_url(spec):
        require_driver(spec)
    paths = expand(spec.replace("{split}", split))
    if "{split}" not in spec:
        paths = [path for path in paths if _belongs(path, split)]
    if not paths or not all(path.endswith(".tar") for path in paths):
        raise InputError(
            f"{shown(spec)} names no tars of {split}: a pattern names those of each split, like "
            f"DIR/{{split}}-{{000..099}}.tar or DIR/{{train-{{000..099}},val-{{00..07}}}}.tar"
        )
    paths = [path if is_url(path) else str(absolute(path)) for path in paths]
    found = {path: _local_size(path) for path in paths if not is_url(path)}
    missing = [path for path, size in found.items() if size is None]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(paths)} tars of the pattern {shown(spec)} do not exist, "
            f"first {shown(missing[0])}: correct the range"
        )
    return paths


def _local_size(path: str) -> int | None:
    """Size in bytes; None if the file does not exist."""
    try:
        return patiently_local(path, lambda: regular_size(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        reason = getattr(error, "strerror", None) or "no file has such a name"
        raise InputError(f"{shown(path)} cannot be read: {reason}; correct --images") from error


def _belongs(path: str, split: str) -> bool:
    folder, name = posixpath.split(path)
    words = {*re.split(r"[-_.]", name), posixpath.basename(folder)}
    return not words.isdisjoint(ALIASES.get(split, (split,)))
