"""Whole caches of small blocks in an object store, in this process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import StorageError
from shared.files import retry
from shared.records.manifest import Manifest
from shared.store.opening import open_cache
from tests.fault_proxy import FaultProxy
from tests.s3 import ALWAYS, FAULTS, new_url, on_disk, require_sound, stored
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put


def fill(url: str, manifest: Manifest) -> None:
    """What precompute/run.py does to the store."""
    cache = open_empty(url, manifest)
    todo = [(unit, layer) for unit in cache.units() for layer in cache.missing_layers(*unit)]
    for unit, layer in todo:
        put(cache, make_block(manifest, *unit, layer))


CACHE_FAULTS = {name: make for name, (make, _) in FAULTS.items() if name != "silent"}


@pytest.mark.parametrize("store", ["webdataset", pytest.param("zarr", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CACHE_FAULTS)
def test_a_cache_through_faults_is_the_local_one(
    s3: str, proxy: FaultProxy, server: int, tmp_path: Path, store: str, name: str
) -> None:
    """A fault at every third request that can have it: writing, going on, adding a kind,
    reading."""
    manifest = make_manifest(samples=6, views=2, store=store, added={"attention2": (3,)})
    make_cache(tmp_path, manifest)
    fault = CACHE_FAULTS[name]()
    fault.times, fault.every = ALWAYS, 3
    proxy.faults.append(fault)
    fill(s3, replace(manifest, views=1, added={}))
    fill(s3, replace(manifest, added={}))
    fill(s3, manifest)
    assert stored(server, s3) == on_disk(tmp_path)
    remote, local = open_cache(s3, "train"), open_cache(tmp_path, "train")
    names = [*local.format.array_paths(manifest, 0, 0), "attention2"]
    for view in range(2):
        mine, theirs = remote.read_view(view, names), local.read_view(view, names)
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert fault.hits >= 2


def test_an_outage_is_no_damage(s3: str, proxy: FaultProxy) -> None:
    """Else resuming would make every block again, and verify --repair too."""
    manifest = make_manifest(samples=6, views=1)
    cache = make_cache(s3, manifest)  # type: ignore[arg-type]
    assert cache.is_done(0, 0)
    proxy.reset()
    proxy.dies_at = 0
    for act in (cache.is_done, cache.check_block, cache.receipt):
        with pytest.raises(StorageError, match="does not answer"):
            act(0, 0)


@pytest.mark.parametrize("torn", [False, True], ids=["before a request", "in an upload"])
@pytest.mark.parametrize("store", ["webdataset", pytest.param("zarr", marks=pytest.mark.slow)])
def test_stopped_at_every_request(
    s3: str,
    proxy: FaultProxy,
    server: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    torn: bool,
) -> None:
    """The store dies at the n-th request, for every n; then it is back, and the cache goes on."""
    monkeypatch.setattr(retry, "TRIES", 1)
    manifest = make_manifest(samples=6, views=1, store=store)
    make_cache(tmp_path, manifest)
    expected = on_disk(tmp_path)
    fill(new_url(), manifest)
    requests = list(proxy.requests)
    assert len(requests) > 12
    counts = set()
    for number, (method, _) in enumerate(requests):
        if torn and method != "PUT":
            continue
        url = new_url()
        proxy.reset()
        proxy.dies_at, proxy.torn = number, torn
        with pytest.raises(StorageError):
            fill(url, manifest)
        counts.add(require_sound(server, url))
        proxy.reset()
        fill(url, manifest)
        assert stored(server, url) == expected, number
    assert counts == {0, 1}, counts
