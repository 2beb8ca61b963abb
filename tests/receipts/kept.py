"""Small caches with an index of their receipts, and what a reader of them asks of the storage."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.files.local import LocalFiles
from shared.store.opening import Cache, open_cache
from shared.store.receipt_index import INDEX, YOUNG
from tests.small_cache import make_cache, make_manifest


def make_old(folder: Path) -> None:
    """As if the receipts had been written an hour ago: the index leaves out younger ones."""
    for path in (folder / "train" / "receipts").iterdir():
        before = time.time() - max(3600, 10 * YOUNG)
        os.utime(path, (before, before))


def keep_index(cache: Cache) -> None:
    """As the commands do it."""
    cache.receipt_names()
    cache.keep_index()


def indexed_cache(folder: Path, store: str = "zarr", **facts: Any) -> Path:
    """The index of a new cache of 3 blocks and 2 views, all of whose receipts are in it."""
    make_cache(folder, make_manifest(store=store, **facts))
    make_old(folder)
    keep_index(open_cache(folder, "train"))
    return folder / "train" / INDEX


def read_paths(patch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from now on."""
    found: list[str] = []

    def seen(real: Callable[..., bytes]) -> Callable[..., bytes]:
        def read(self: LocalFiles, path: str, *more: Any) -> bytes:
            found.append(path)
            return real(self, path, *more)

        return read

    patch.setattr(LocalFiles, "read", seen(LocalFiles.read))
    return found


def know_all(folder: Path) -> Cache:
    cache = open_cache(folder, "train")
    cache.know(cache.units())
    return cache
