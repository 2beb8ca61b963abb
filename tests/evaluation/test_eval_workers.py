"""The loader workers of train/eval.py: when they start, and errors in them, which are one line."""

import math
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.images.source import open_source
from shared.store.opening import Arrays, Cache
from tests.evaluated import EVAL, Evaluate, World
from tests.fault_proxy import Fault, FaultProxy
from tests.helpers import require_refused, run
from tests.tars import behind_proxy, write_tar


def test_workers_start_before_a_view_is_in_memory(
    world: World, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked later they would keep its pages until the last image."""
    workers: list[int] = []
    read = Cache.read_view

    def noted(self: Cache, view: int, names: list[str]) -> Arrays:
        workers.append(len(multiprocessing.active_children()) - before)
        return read(self, view, names)

    monkeypatch.setattr(Cache, "read_view", noted)
    before = len(multiprocessing.active_children())
    evaluate(world.folder / "run" / "best.pt", "--cache", world.cache("zarr"), "--workers", 1)
    assert workers == [1]


def test_a_damaged_shard_in_a_loader_worker(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.cache("webdataset"), tmp_path / "cache")
    path = tmp_path / "cache/val/shards/v0000-b000001.tar"  # not the first, not the last
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    flags = ("--checkpoint", world.best, "--cache", tmp_path / "cache", "--workers", 1)
    done = run(EVAL, *flags, check=False)
    require_refused(done, f"error: {path} is damaged: it has")


@pytest.fixture
def tars(world: World, tmp_path: Path) -> Iterator[FaultProxy]:
    """val.tar of the images, behind an HTTP server that can fail."""
    source = world.source
    files = {}
    for index in range(len(source)):
        files[f"{index:04d}.cls"] = b"%d" % source.labels[index]
        files[f"{index:04d}.jpg"] = source.read(index)
    write_tar(tmp_path / "val.tar", files)
    with behind_proxy(tmp_path) as proxy:
        yield proxy


def test_an_outage_in_a_loader_worker(world: World, tars: FaultProxy) -> None:
    """While images are read, which only the worker does."""
    spec = tars.url + "/{split}.tar"
    flags = ("--checkpoint", world.best, "--images", spec, "--workers", 1)
    open_source(spec, "val")
    listing = len(tars.requests)
    tars.reset()
    broken = Fault("status", 503, math.inf, wants=lambda *_: len(tars.requests) > listing + 10)
    tars.faults.append(broken)
    done = run("tests/impatient.py", EVAL, *flags, check=False)
    require_refused(done, f"error: the store does not answer: {tars.url}/val.tar failed 6 times")
    assert broken.hits == 6 and len(tars.requests) == listing + 16
