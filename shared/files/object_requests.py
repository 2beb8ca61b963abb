"""Requests to fsspec's drivers that objects.py makes."""

import errno
import inspect
from collections.abc import Mapping
from typing import Any

from fsspec.spec import AbstractFileSystem

from shared.files.drivers import time_limit
from shared.files.protocol import Stamp
from shared.files.retry import s3_code

# What drivers call the text that is another one after an object was written again.
MARKS = ("ETag", "etag", "generation", "md5Hash", "content_md5")


def names_in(store: AbstractFileSystem, folder: str) -> list[str]:
    """The sorted names directly below `folder`."""
    inside = folder.strip("/") + "/"
    # No limit on the whole: each thousand names are a request with its own limit.
    found = [path.strip("/") for path in store.ls(folder, detail=False)]
    return sorted(path.removeprefix(inside) for path in found if path.startswith(inside))


def stamps_in(store: AbstractFileSystem, folder: str) -> dict[str, Stamp]:
    """Name -> stamp of the objects directly below `folder`."""
    inside = folder.strip("/") + "/"
    found = (entry for entry in store.ls(folder, detail=True) if entry["type"] == "file")
    return {
        path.removeprefix(inside): (int(entry["size"]), _mark(entry))
        for entry in found
        if (path := entry["name"].strip("/")).startswith(inside)
    }


def sizes_below(store: AbstractFileSystem, folder: str, root: str) -> dict[str, int]:
    """Path -> bytes of all objects below `folder`; paths are relative to `root`."""
    found = store.find(folder, detail=True).items()
    return {path.strip("/").removeprefix(root): facts["size"] for path, facts in found}


def _mark(entry: Mapping[str, Any]) -> str:
    return next((str(entry[name]) for name in MARKS if entry.get(name)), "")


def put(store: AbstractFileSystem, name: str, data: bytes) -> None:
    store.pipe_file(name, data, **time_limit(store, len(data)))


def put_new(store: AbstractFileSystem, name: str, data: bytes) -> None:
    """Writes an object. Raises FileExistsError if it exists and the store can tell."""
    if "mode" in inspect.signature(store.pipe_file).parameters:
        try:
            store.pipe_file(name, data, mode="create", **time_limit(store, len(data)))
            return
        except OSError as error:
            if s3_code(error) in ("PreconditionFailed", "412"):
                raise FileExistsError(name) from error
            if error.errno != errno.ENOSYS:
                raise
    put(store, name, data)
