"""Tars across a network equal the files, and what fails there is tried again or is one line."""

import sys
from pathlib import Path

import fsspec
import pytest
from torch.utils.data import DataLoader

from shared.errors import InputError, StorageError
from shared.files import ranges
from shared.images.source import open_source
from tests.fault_proxy import Fault, FaultProxy
from tests.tars import ONE, Bytes, write_tar


def test_a_url_equals_the_files(folder: Path, proxy: FaultProxy) -> None:
    local = open_source(str(folder), "train")
    spec = proxy.url + "/{split}-{0000..0002}.tar"
    source = open_source(spec, "train")
    assert source.digest == local.digest and source.classes == local.classes
    assert [source.read(i) for i in range(12)] == [local.read(i) for i in range(12)]
    loader = DataLoader(
        Bytes(source), batch_size=None, sampler=range(12), num_workers=2,
        multiprocessing_context="fork",
    )  # fmt: skip
    assert list(loader) == [local.read(i) for i in range(12)]


def test_small_windows_read_the_same(
    folder: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "WINDOW", 600)
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    assert source.digest == open_source(str(folder), "train").digest


def test_what_passes_is_tried_again(folder: Path, proxy: FaultProxy) -> None:
    local = open_source(str(folder), "train")
    faults = [Fault("status", 503, times=9, every=2), Fault("drop", 20, times=9, every=3)]
    proxy.faults.extend(faults)
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    assert source.digest == local.digest
    assert [source.read(i) for i in range(12)] == [local.read(i) for i in range(12)]
    assert all(fault.hits > 3 for fault in faults)


def test_an_outage_is_one_line(proxy: FaultProxy) -> None:
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    proxy.faults.append(Fault("status", 503, times=float("inf")))
    with pytest.raises(StorageError) as caught:
        source.read(2)
    assert f"{proxy.url}/train-0000.tar failed 6 times" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_outage_is_no_missing_file(proxy: FaultProxy) -> None:
    """Else classes would silently be called "0", "1", ..."""
    proxy.faults.append(Fault("status", 503, float("inf"), wants=lambda _, path: "txt" in path))
    with pytest.raises(StorageError, match=r"classes.txt failed 6 times .* HTTP status 503"):
        open_source(proxy.url + "/train-{0000..0002}.tar", "train")


def test_a_missing_shard_at_a_url(proxy: FaultProxy) -> None:
    with pytest.raises(InputError) as caught:
        open_source(proxy.url + "/train-{0000..0003}.tar", "train")
    url = f"{proxy.url}/train-0003.tar"
    assert str(caught.value) == (
        f"{url} cannot be read: no such file; put it back, or allow it to be read"
    )


def test_a_kept_listing_of_a_url(
    folder: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.images.kept_listing.FEWEST", 1)
    spec = proxy.url + "/train-{0000..0002}.tar"
    first = open_source(spec, "train")
    before = len(proxy.requests)
    assert open_source(spec, "train").digest == first.digest
    assert {method for method, _ in proxy.requests[before:]} == {"HEAD"}
    write_tar(folder / "train-0001.tar", ONE)
    assert len(open_source(spec, "train")) == 9


def test_any_store_of_fsspec(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", ONE)
    data = (tmp_path / "train-0.tar").read_bytes()
    fsspec.filesystem("memory").pipe_file("/bucket/train-0.tar", data)
    source = open_source("memory://bucket/{split}-0.tar", "train")
    assert list(source.keys) == ["a"] and source.read(0) == b""


def test_no_driver() -> None:
    with pytest.raises(InputError) as caught:
        open_source("nothing://bucket/{split}-0.tar", "train")
    assert str(caught.value) == (
        "there is no fsspec driver for "
        "nothing://bucket/{split}-0.tar: Protocol not known: nothing; give a folder, or a URL that "
        "fsspec knows"
    )


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(InputError) as caught:
        open_source("http://localhost/{split}-0.tar", "train")
    assert str(caught.value) == (
        "the fsspec driver for http:// is not installed (HTTPFileSystem "
        'requires "requests" and "aiohttp" to be installed): pip install what it names'
    )
