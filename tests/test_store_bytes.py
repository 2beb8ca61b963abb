"""Caches of equal contents have equal bytes, whoever makes them and in what order."""

import multiprocessing
import threading
from pathlib import Path

import numcodecs
import numcodecs.blosc
import numpy as np

from shared.formats import zarr_format
from shared.records.block import sha256
from shared.records.manifest import Manifest
from shared.store.opening import open_cache
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put
from tests.stores import bytes_below, every_format


@every_format
def test_two_caches_are_byte_identical(tmp_path: Path, store: str) -> None:
    """Made apart, and the second one backwards."""
    manifest = make_manifest(store=store, codec="tiny")
    make_cache(tmp_path / "a", manifest)
    backwards = open_empty(tmp_path / "b", manifest)
    for view, index in reversed(list(backwards.units())):
        put(backwards, make_block(manifest, view, index))
    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    assert len(bytes_below(tmp_path / "a")) > 6 * 2


def test_a_large_shard_is_always_the_same_bytes() -> None:
    manifest = make_manifest(2048, 2048, views=1, channels=(64, 128, 256, 512))
    block = make_block(manifest, 0, 0)
    digests = {
        tuple(sha256(data) for data in zarr_format.encode(manifest, block).values())
        for _ in range(4)
    }
    assert len(digests) == 1


def test_blosc_has_no_threads_of_its_own() -> None:
    """In the main thread it would take them, and then order its blocks by who finishes first.

    zarr 3.1 calls it from other threads; nothing promises that the next one does.
    """
    assert threading.current_thread() is threading.main_thread()
    numbers = np.random.Generator(np.random.Philox(0)).normal(size=(1024, 960)).astype(np.float16)
    codec = numcodecs.Blosc(cname="zstd", clevel=1)
    before = numcodecs.blosc.set_nthreads(4)
    try:
        assert len({sha256(codec.encode(numbers)) for _ in range(10)}) == 1
    finally:
        numcodecs.blosc.set_nthreads(before)


def write_all(folder: Path, manifest: Manifest, times: int) -> None:
    """In a process of its own."""
    for _ in range(times):
        make_cache(folder, manifest).files.remove_stale()


def test_two_processes_that_write_the_same_at_once(tmp_path: Path) -> None:
    manifest = make_manifest()
    make_cache(tmp_path / "alone", manifest)
    server = multiprocessing.get_context("forkserver")
    arguments = (tmp_path / "shared", manifest, 4)
    processes = [server.Process(target=write_all, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert bytes_below(tmp_path / "shared") == bytes_below(tmp_path / "alone")
    cache = open_cache(tmp_path / "shared", "train")
    assert all(cache.is_done(*unit) for unit in cache.units())
