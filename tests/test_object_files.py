"""Files in an object store do what files on a disk do."""

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import StorageError
from shared.files import retry
from shared.files.local import LocalFiles
from shared.files.objects import ObjectFiles, open_files
from shared.files.protocol import Files
from tests.fault_proxy import Fault, FaultProxy
from tests.s3 import ALWAYS, BUCKET, prefixes, put_object


@pytest.fixture(params=["local", "file", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    locations: dict[str, Callable[[], str | Path]] = {
        "local": lambda: tmp_path / "cache",
        "file": lambda: f"file://{tmp_path}/cache",
        "memory": lambda: f"memory://cache{next(prefixes)}",
        "s3": lambda: request.getfixturevalue("s3"),
    }
    return open_files(locations[request.param](), "train")


def test_contract_of_files(files: Files) -> None:
    big = np.random.default_rng(0).bytes(3_000_000)
    assert str(files.root).endswith("/train")
    assert files.names("receipts") == files.names(".") == files.names("") == []
    assert not files.exists("receipts/one")
    with pytest.raises(FileNotFoundError):
        files.read("receipts/one")
    for path, data in {"receipts/two": b"2", "receipts/one": b"", "z/c/0/1/0": big}.items():
        files.write(path, data)
        assert files.read(path) == data
        assert files.exists(path)
    files.write("receipts/two", b"other")
    assert files.read("receipts/two") == b"other"
    assert files.names("receipts") == ["one", "two"]
    assert files.names("z") == ["c"] and files.names("z/c/0") == ["1"]
    assert files.names(".") == ["receipts", "z"]
    assert not files.exists("receipts") and files.names("receipts/one") == []
    assert files.write_new("manifest.json", b"first")
    assert not files.write_new("manifest.json", b"second")
    assert files.read("manifest.json") == b"first"
    files.write_with("new/folder/file", lambda file: file.writelines([b"4", b"2"]))
    files.write_with("new/folder/file", lambda file: file.writelines([b"4", b"3"]))
    assert files.read("new/folder/file") == b"43"
    files.remove("new/folder/file")
    files.remove("new/folder/file")  # as when another try was answered too late
    assert not files.exists("new/folder/file") and files.names("new/folder") == []
    if isinstance(files, LocalFiles):
        for folder in ("new/folder", "new"):
            (files.root / folder).rmdir()
    files.remove_stale()
    again = pickle.loads(pickle.dumps(files))
    assert again.read("z/c/0/1/0") == big
    assert again.names(".") == ["manifest.json", "receipts", "z"]


PATHS = st.sampled_from(["a", "b/c", "b/d", "e/f/g", "e/f/h"])
DATA = st.binary(max_size=20)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["write", "write_new"]), PATHS, DATA),
    st.tuples(st.sampled_from(["read", "exists"]), PATHS),
    st.tuples(st.just("exists"), st.sampled_from(["b", "e", "e/f"])),
    st.tuples(st.just("names"), st.sampled_from(["", ".", "b", "e", "e/f", "a", "x"])),
)


@pytest.mark.parametrize("scheme", ["memory", "s3"])
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(operations=st.lists(OPERATIONS, min_size=5, max_size=12))
def test_object_files_do_what_local_files_do(
    s3: str,
    scheme: str,
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[Any, ...]],
) -> None:
    remote = open_files(f"{scheme}://{BUCKET}/{next(prefixes)}", "train")
    local = LocalFiles(tmp_path_factory.mktemp("local"))
    for name, *arguments in operations:
        assert outcome(remote, name, arguments) == outcome(local, name, arguments)


def outcome(files: Files, name: str, arguments: list[Any]) -> object:
    try:
        return getattr(files, name)(*arguments)
    except OSError as error:
        return type(error)


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_an_object_takes_few_requests(s3: str, proxy: FaultProxy, size: int) -> None:
    files = open_files(s3, "train")
    files.write("x", bytes(size))
    assert [method for method, _ in proxy.requests] == ["PUT"]
    proxy.reset()
    assert files.read("x") == bytes(size)
    assert [method for method, _ in proxy.requests] == ["HEAD", "GET"]


def test_of_two_writers_the_first_wins(
    s3: str, proxy: FaultProxy, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conditional write: the other process's object appears after our look and before our put."""
    files = open_files(s3, "train")
    meet = proxy.meet

    def overtaken(method: str, path: str) -> Fault | None:
        if method == "PUT":
            put_object(server, path, b"theirs")
        return meet(method, path)

    monkeypatch.setattr(proxy, "meet", overtaken)
    assert not files.write_new("manifest.json", b"ours")
    assert files.read("manifest.json") == b"theirs"
    assert [method for method, _ in proxy.requests].count("PUT") == 1


def test_a_store_without_conditional_writes_is_written_all_the_same(
    s3: str, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault("status", 501, wants=lambda method, path: method == "PUT"))
    files = open_files(s3, "train")
    assert files.write_new("manifest.json", b"ours")
    assert [method for method, _ in proxy.requests].count("PUT") == 2
    assert not files.write_new("manifest.json", b"other")


def test_files_survive_forks(s3: str) -> None:
    """s3fs's own instances raise or hang in a child."""
    files = open_files(s3, "train")
    files.write("x", b"parent")
    context = multiprocessing.get_context("fork")
    for number in range(4):
        queue = context.SimpleQueue()
        child = context.Process(target=read_and_write, args=(files, number, queue))
        child.start()
        assert files.read("x") == b"parent"
        child.join(60)
        assert child.exitcode == 0 and queue.get() == b"parent"
    assert files.names("") == ["0", "1", "2", "3", "x"]
    assert files.read("3") == b"child"


def read_and_write(files: Files, number: int, queue: Any) -> None:
    queue.put(files.read("x"))
    files.write(str(number), b"child")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [None, Fault("drop upload", 30_000_000, ALWAYS), Fault("status", 500, ALWAYS)]
)
def test_large_objects_go_in_parts(
    s3: str, proxy: FaultProxy, server: int, fault: Fault | None
) -> None:
    """Over 100 MB; a fault in any part, and what is there before is there until all is."""
    data = np.random.default_rng(0).bytes(130_000_000)
    files = open_files(s3, "train")
    files.write("x", b"before")
    if fault is not None:
        fault.wants = lambda method, path: "partNumber=2" in path
        proxy.faults.append(fault)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retry, "TRIES", 1)
            with pytest.raises(StorageError):
                files.write("x", data)
        assert fault.hits > 0
        assert files.read("x") == b"before"
        proxy.reset()
    files.write("x", data)
    assert files.read("x") == data
    assert any("partNumber=3" in path for _, path in proxy.requests)


def test_object_files_hold_nothing() -> None:
    assert vars(ObjectFiles("s3://bucket/cache/train")) == {"root": "s3://bucket/cache/train"}
