"""A cache in an object store: the bytes of a local one, through every fault of the network.

A real S3 server (moto's, in a process of its own) on loopback, and in front of it a proxy that
drops, delays, cuts and refuses (fault_proxy.py). What the server holds is read past the proxy.
"""

import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.cache.block import sha256
from shared.cache.manifest import Manifest
from shared.cache.opening import open_cache
from shared.errors import InputError, StorageError
from shared.files import objects as object_files
from shared.files import retry
from shared.files.local import Files, LocalFiles
from shared.files.objects import ObjectFiles, open_files
from tests.fault_proxy import Fault, FaultProxy
from tests.helpers import STUDENT, Finished, Started, require_refused, run, start, write_teacher
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put

BUCKET = "bucket"
FORMATS = ["zarr", "webdataset"]
ALWAYS = float("inf")

prefixes = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    """The port of an S3 server with one bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    for _ in range(600):
        assert process.poll() is None, "the S3 server does not start"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(request, timeout=10).close()
            break
        time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="session")
def session_proxy(server: int) -> Iterator[FaultProxy]:
    with FaultProxy(server) as proxy:
        yield proxy


@pytest.fixture
def proxy(session_proxy: FaultProxy) -> FaultProxy:
    session_proxy.reset()
    return session_proxy


def environment(endpoint: str) -> dict[str, str]:
    """Of an S3 client that knows no other store, and asks no cloud for credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def s3(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL of its own for a cache, which this process reaches through the proxy, with short
    waits."""
    for name, value in environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    return new_url()


@pytest.fixture
def new_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise tests share one."""
    monkeypatch.setattr(object_files, "_drivers", {})


def new_url() -> str:
    return f"s3://{BUCKET}/{next(prefixes)}"


@lru_cache(1)
def server_itself(port: int) -> Any:
    """s3fs as it is, past the proxy."""
    return fsspec.filesystem(
        "s3",
        key="key",
        secret="secret",
        client_kwargs={"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"},
        skip_instance_cache=True,
        use_listings_cache=False,
        max_concurrency=1,
    )


def stored(server: int, url: str) -> dict[str, bytes]:
    """Path -> bytes of every object below `url`, straight from the server."""
    s3 = server_itself(server)
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): s3.cat_file(path) for path in s3.find(root)}


def put_object(server: int, path: str, data: bytes) -> None:
    url = f"http://127.0.0.1:{server}{path}"
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data, headers, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def on_disk(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# What all kinds of files have in common


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


# Where a cache may be


def test_locations(tmp_path: Path) -> None:
    for location in (tmp_path, str(tmp_path), f"file://{tmp_path}", f"local://{tmp_path}/"):
        files = open_files(location, "val")
        assert isinstance(files, LocalFiles) and files.root == tmp_path / "val"
    assert open_files("s3://bucket/a/b/", "val").root == "s3://bucket/a/b/val"
    assert open_files(Path("s3:/bucket"), "val").root == Path("s3:/bucket/val")
    for location in ("s3://", "s3:///"):
        with pytest.raises(InputError, match=r"--cache must name a bucket, like .*: got s3://"):
            open_files(location, "val")
    with pytest.raises(
        InputError,
        match=r"^a URL is opened by its .* there is none for tape://x: Protocol not kn.*: tape;",
    ):
        open_files("tape://x", "val")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError) as caught:
        open_files("s3://bucket/cache", "train")
    assert str(caught.value) == (
        "a URL is opened by its fsspec driver: that of s3:// is not installed (Install s3fs to "
        "access S3); pip install s3fs"
    )


@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL_S3", "FSSPEC_S3"])
def test_ways_to_name_the_endpoint(proxy: FaultProxy, server: int, endpoint: str) -> None:
    """A process of its own, because fsspec reads its configuration when it is imported."""
    url = new_url()
    variables = environment("") | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    if endpoint == "FSSPEC_S3":
        variables["FSSPEC_S3"] = json.dumps(
            {"endpoint_url": proxy.url, "config_kwargs": {"s3": {"addressing_style": "path"}}}
        )
    else:
        variables[endpoint] = proxy.url
    code = f"from shared.files.objects import *; open_files({url!r}, 't').write('x', b'ok')"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[1],
    )
    assert stored(server, url) == {"t/x": b"ok"}
    assert len(proxy.requests) == 1


# Faults, operation by operation

READ = ["read", "exists", "names"]
WRITE = ["write", "write_new"]

FAULTS: dict[str, tuple[Callable[[], Fault], list[str]]] = {
    "dropped before the answer": (lambda: Fault("drop", 0), READ + WRITE),
    "dropped in the answer's head": (lambda: Fault("drop", 30), READ + WRITE),
    "dropped in the body": (
        lambda: Fault("drop", 5000, wants=lambda method, path: method == "GET"),
        ["read"],
    ),
    "dropped before the upload": (lambda: Fault("drop upload", 0), WRITE),
    "dropped in the upload": (lambda: Fault("drop upload", 9000), WRITE),
    "dropped at the upload's end": (lambda: Fault("drop upload", -1), WRITE),
    "500": (lambda: Fault("status", 500), READ + WRITE),
    "503": (lambda: Fault("status", 503), READ + WRITE),
    "429": (lambda: Fault("status", 429), READ + WRITE),
    "silent": (lambda: Fault("delay", 1.5), READ + WRITE),
    "cut short": (lambda: Fault("truncate", 1), ["read"]),
    "cut to nothing": (lambda: Fault("truncate", 10**6), ["read"]),
}


@pytest.mark.parametrize(
    ("name", "operation"), [(name, op) for name, (_, ops) in FAULTS.items() for op in ops]
)
def test_a_passing_fault_changes_nothing(
    s3: str,
    proxy: FaultProxy,
    server: int,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    operation: str,
) -> None:
    data = np.random.default_rng(1).bytes(20_000)
    files = open_files(s3, "train")
    files.write("receipts/old", data)
    if name == "silent":
        monkeypatch.setattr(object_files, "SILENCE_SECONDS", 0.5)
        monkeypatch.setattr(object_files, "_drivers", {})
    fault = FAULTS[name][0]()
    fault.times = 1 if name == "silent" else 3
    proxy.reset()
    proxy.faults.append(fault)
    if operation == "read":
        assert files.read("receipts/old") == data
    elif operation == "exists":
        assert files.exists("receipts/old")
    elif operation == "names":
        assert files.names("receipts") == ["old"]
    elif operation == "write":
        files.write("receipts/new", data)
    else:
        # Its first answers are lost, and still it knows that the object is its own.
        assert files.write_new("receipts/new", data)
    assert fault.hits == fault.times
    assert max(Counter(proxy.requests).values()) > fault.times, "nothing was tried again"
    new = {"train/receipts/new": data} if operation in WRITE else {}
    assert stored(server, s3) == {"train/receipts/old": data, **new}


@pytest.mark.parametrize("operation", READ + WRITE)
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("drop", 0, ALWAYS), r"\w+: .*"),
        (Fault("status", 500, ALWAYS), "OSError: .*"),
        (Fault("status", 503, ALWAYS), "OSError: .*"),
    ],
    ids=["dropped", "500", "503"],
)
def test_a_lasting_fault_is_one_line(
    s3: str, proxy: FaultProxy, operation: str, fault: Fault, text: str
) -> None:
    proxy.faults.append(fault)
    with pytest.raises(StorageError) as caught:
        attempt(open_files(s3, "train"), operation)
    line = rf"the store must answer: {s3}/train/\S+ failed 6 times in \d+ s, last with {text}; "
    line += "nothing that was finished is lost: check network, endpoint and store, then start "
    assert_line(caught.value, line + "the same command again")
    # Neither s3fs nor botocore tries again beneath us. aiohttp does, once and at once, where it has
    # seen no answer at all.
    assert len(proxy.requests) == (12 if fault.kind == "drop" else 6)


def attempt(files: Files, operation: str) -> None:
    getattr(files, operation)("a/b", *([b"data"] if operation in WRITE else []))


def assert_line(error: Exception, pattern: str) -> None:
    assert re.fullmatch(pattern, str(error)), str(error)


@pytest.mark.parametrize("operation", READ + WRITE)
@pytest.mark.parametrize(
    ("status", "rule"), [(403, "refuses access"), (400, "refuses the request")]
)
def test_a_refusal_is_one_line_at_once(
    s3: str, proxy: FaultProxy, operation: str, status: int, rule: str
) -> None:
    proxy.faults.append(Fault("status", status, ALWAYS))
    with pytest.raises(StorageError, match=rf"{rule}.*: {s3}/train/a/b: \w+: .*; .*AWS_") as caught:
        attempt(open_files(s3, "train"), operation)
    assert "\n" not in str(caught.value)
    # At 400 botocore asks which region the bucket is in.
    assert {method for method, _ in proxy.requests[1:]} <= {"HEAD"} and len(proxy.requests) <= 2


@pytest.mark.usefixtures("new_driver")
@pytest.mark.parametrize("operation", READ + WRITE)
def test_no_credentials_is_one_line_at_once(
    s3: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match=r"refuses access: .*: NoCredentialsError: .*"):
        attempt(open_files(s3, "train"), operation)
    assert proxy.requests == []


def test_not_found_is_not_tried_again(s3: str, proxy: FaultProxy) -> None:
    files = open_files(s3, "train")
    with pytest.raises(FileNotFoundError):
        files.read("receipts/none")
    assert len(proxy.requests) == 2  # an object of that name, a folder of that name
    with pytest.raises(
        InputError, match="bucket of a cache must exist: s3://none/x/train/a cannot"
    ):
        open_files("s3://none/x", "train").write("a", b"")
    assert not open_files("s3://none/x", "train").exists("a")


@pytest.mark.usefixtures("new_driver")
def test_a_dead_endpoint_is_one_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StorageError, match=r"failed 6 times .* EndpointConnectionError: Could"):
            open_files(s3, "train").read("x")


# Patience


def test_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = []
    for _ in range(20):
        waits: list[float] = []
        monkeypatch.setattr(retry.time, "sleep", waits.append)
        with pytest.raises(
            StorageError, match="there failed 6 times in 0 s, last with OSError: no"
        ):
            retry.patiently("there", fail_with(OSError("no")))
        assert len(waits) == 5
        for number, wait in enumerate(waits):
            assert 0.5 <= wait / (0.5 * 2**number) <= 1.5
        lives.append(tuple(waits))
    assert len(set(lives)) == 20
    assert 8 < np.mean([sum(waits) for waits in lives]) < 23  # seconds


@pytest.mark.parametrize(("seconds", "tries"), [(1, 6), (13, 5), (59, 2), (61, 2), (1000, 2)])
def test_the_whole_is_bounded(monkeypatch: pytest.MonkeyPatch, seconds: float, tries: int) -> None:
    """Tries that last: no new one after a minute, but always a second."""
    clock = [0.0]
    monkeypatch.setattr(retry.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(retry.time, "sleep", lambda wait: None)

    def last() -> None:
        clock[0] += seconds
        raise TimeoutError

    with pytest.raises(
        StorageError, match=rf"failed {tries} times in .* TimeoutError: no answer in"
    ):
        retry.patiently("there", last)


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AttributeError("x")])
def test_a_mistake_of_a_program_is_no_fault_of_the_network(error: Exception) -> None:
    with pytest.raises(type(error)):
        retry.patiently("there", fail_with(error))


@pytest.mark.parametrize(
    ("code", "tries"), [("BadDigest", 6), ("IncompleteBody", 6), ("InvalidBucketName", 1)]
)
def test_what_was_damaged_on_its_way_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, code: str, tries: int
) -> None:
    """S3 says to both that the request is wrong."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0)
    done = []

    def act() -> None:
        done.append(code)
        cause = OSError()
        cause.response = {"Error": {"Code": code}}  # type: ignore[attr-defined]
        raise OSError(errno.EINVAL, "wrong") from cause

    with pytest.raises(StorageError):
        retry.patiently("there", act)
    assert len(done) == tries


def fail_with(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_long_and_many_lined_errors_become_one_line() -> None:
    text = retry.one_line(OSError("a\n  b\t" + "c" * 1000))
    assert text.startswith("OSError: a b ccc") and len(text) < 220 and "\n" not in text


# Forks, as of loader workers


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


# Whole caches of small blocks, in this process


def fill(url: str, manifest: Manifest) -> None:
    """What precompute/run.py does to the store."""
    cache = open_empty(url, manifest)
    for unit in [unit for unit in cache.units() if not cache.is_done(*unit)]:
        put(cache, make_block(manifest, *unit))


CACHE_FAULTS = {name: make for name, (make, _) in FAULTS.items() if name != "silent"}


@pytest.mark.parametrize("store", ["webdataset", pytest.param("zarr", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CACHE_FAULTS)
def test_a_cache_through_faults_is_the_local_one(
    s3: str, proxy: FaultProxy, server: int, tmp_path: Path, store: str, name: str
) -> None:
    """A fault at every third request that can have it: writing, going on, reading."""
    manifest = make_manifest(samples=6, views=2, store=store)
    make_cache(tmp_path, manifest)
    fault = CACHE_FAULTS[name]()
    fault.times, fault.every = ALWAYS, 3
    proxy.faults.append(fault)
    fill(s3, manifest.with_views(1))
    fill(s3, manifest)
    assert stored(server, s3) == on_disk(tmp_path)
    remote, local = open_cache(s3, "train"), open_cache(tmp_path, "train")
    names = list(local.format.array_paths(manifest, 0, 0))
    names = [name for name in names if name != "label"]
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
        with pytest.raises(StorageError, match="must answer"):
            act(0, 0)


def require_sound(server: int, url: str) -> int:
    """Every receipt's files are there and whole; returns the number of receipts."""
    objects = stored(server, url)
    receipts = [json.loads(data) for path, data in objects.items() if "/receipts/" in path]
    for receipt in receipts:
        for path, (size, sha) in receipt["files"].items():
            data = objects[f"train/{path}"]
            assert (len(data), sha256(data)) == (size, sha), path
    return len(receipts)


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


# The commands


@pytest.fixture(scope="session")
def job(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Flags of a precompute run that takes seconds: 12 images, 2 views, blocks of 4."""
    weights = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    write_teacher(weights, "cifar_resnet20", 3)
    return (
        *("--split", "train", "--images", image_folder, "--weights", weights),
        *(
            "--teacher",
            "cifar_resnet20",
            "--size",
            32,
            "--block",
            4,
            "--batch-size",
            7,
            "--views",
            2,
        ),
        *("--workers", 0),
    )


@pytest.fixture(scope="session")
def whole(job: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The local cache that all must equal, by format."""
    folders = {store: tmp_path_factory.mktemp("whole") / store for store in FORMATS}
    for store, folder in folders.items():
        run("precompute/run.py", *job, "--format", store, "--cache", folder)
    return folders


def run_on_s3(proxy: FaultProxy, script: str, *flags: object, check: bool = True) -> Finished:
    return run("tests/impatient.py", script, *flags, check=check, **environment(proxy.url))


@pytest.mark.parametrize("store", FORMATS)
def test_the_commands_do_on_s3_what_they_do_on_disk(
    proxy: FaultProxy,
    server: int,
    tmp_path: Path,
    image_folder: Path,
    job: tuple[object, ...],
    whole: dict[str, Path],
    store: str,
) -> None:
    """Precompute, verify, train with loader workers; with a fault every ten requests or so."""
    proxy.faults += [Fault("status", 503, ALWAYS, every=23), Fault("drop", 99, ALWAYS, every=19)]
    url = new_url()
    done = run_on_s3(proxy, "precompute/run.py", *job, "--format", store, "--cache", url)
    assert f"to       {url}/train: {store}, codec half, 2 views" in done.stdout
    assert done.stderr == ""
    assert stored(server, url) == on_disk(whole[store])
    verified = run_on_s3(proxy, "precompute/verify.py", "--cache", url)
    assert f"{url}/train: verified" in verified.stdout

    flags = (*STUDENT, "--images", image_folder, "--epochs", 2, "--batch-size", 5, "--workers", 2)
    run_on_s3(proxy, "train/run.py", "--cache", url, *flags, "--out", tmp_path / "s3")
    run("train/run.py", "--cache", whole[store], *flags, "--out", tmp_path / "disk")
    mine, theirs = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["student"]
        for name in ("s3", "disk")
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert sum(fault.hits for fault in proxy.faults) > 10
    assert stored(server, url) == on_disk(whole[store]), "training wrote to the cache"


def test_the_store_dies_under_precompute(
    proxy: FaultProxy, server: int, job: tuple[object, ...], whole: dict[str, Path]
) -> None:
    """At some moments of its run, in requests and in uploads: one line, exit code 2, a sound cache;
    then it goes on from there."""
    url = new_url()
    counts = []
    for dies_at, torn in ((0, False), (45, True), (69, False)):
        proxy.reset()
        proxy.dies_at, proxy.torn = dies_at, torn
        done = run_on_s3(proxy, "precompute/run.py", *job, "--cache", url, check=False)
        require_refused(done, "the store must answer", url, "failed 6 times", "same command again")
        counts.append(require_sound(server, url))
    assert counts[0] == 0 and sorted(counts) == counts and 0 < counts[-1] < 6, counts
    proxy.reset()
    done = run_on_s3(proxy, "precompute/run.py", *job, "--cache", url)
    assert f"{counts[-1]} of 6 blocks are there" in done.stdout
    assert stored(server, url) == on_disk(whole["zarr"])


@pytest.mark.parametrize("store", FORMATS)
def test_the_store_dies_under_training(
    proxy: FaultProxy, tmp_path: Path, whole: dict[str, Path], server: int, store: str
) -> None:
    """In an epoch: one line, of the main process (zarr) or of a loader worker (webdataset)."""
    url = new_url()
    for path, data in on_disk(whole[store]).items():
        put_object(server, f"/{url.removeprefix('s3://')}/{path}", data)
    flags = (*STUDENT, "--cache", url, "--epochs", 4, "--batch-size", 5, "--workers", 1)
    flags += ("--out", tmp_path / "run")
    reads = []

    def second_view(method: str, path: str) -> bool:
        """Its blocks, once the pixels of its first and last have been compared at the start."""
        if method == "GET" and ("/shards/v0001-b" in path or "/channels/c/1/" in path):
            reads.append(path)
        return len(reads) > (2 if store == "webdataset" else 0)

    proxy.faults.append(Fault("status", 500, ALWAYS, wants=second_view))
    done = run_on_s3(proxy, "train/run.py", *flags, check=False)
    require_refused(done, "error: the store must answer", url)


# Slow: real waits, real kills, large objects


@pytest.mark.slow
def test_kill_9_at_random_instants_on_s3(
    proxy: FaultProxy, server: int, job: tuple[object, ...], whole: dict[str, Path]
) -> None:
    draw = random.Random(0)
    url = new_url()
    hits = 0
    for instant in sorted(draw.uniform(0, 90) for _ in range(12)):
        proxy.reset()
        process: Started = start(
            *("tests/impatient.py", "precompute/run.py", *job, "--cache", url),
            **environment(proxy.url),
        )
        while process.alive and len(proxy.requests) < instant:
            time.sleep(0.001)
        if process.alive:
            process.signal(signal.SIGKILL)
        hits += process.wait().returncode == -signal.SIGKILL
        require_sound(server, url)
    assert hits >= 8
    run_on_s3(proxy, "precompute/run.py", *job, "--cache", url)
    assert stored(server, url) == on_disk(whole["zarr"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault("status", 503, ALWAYS), Fault("delay", 40, ALWAYS)])
def test_a_broken_store_ends_a_command_within_two_minutes(
    proxy: FaultProxy, job: tuple[object, ...], fault: Fault
) -> None:
    proxy.faults.append(fault)
    started = time.monotonic()
    flags = (*job, "--cache", new_url())
    done = run("precompute/run.py", *flags, check=False, **environment(proxy.url))
    require_refused(done, "the store must answer")
    assert 7 < time.monotonic() - started < 120


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
