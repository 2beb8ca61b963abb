"""An object store for tests, and the faults of the network before it.

A real S3 server (moto's, in a process of its own) on loopback, and in front of it a proxy that
drops, delays, cuts and refuses (fault_proxy.py). What the server holds is read past the proxy. The
fixtures are known to all tests through conftest.py.
"""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import pytest

from shared.files import drivers, retry
from shared.records.block import sha256
from shared.store.receipt_index import INDEX
from tests.fault_proxy import Fault, FaultProxy

BUCKET = "bucket"
FORMATS = ["zarr", "webdataset"]
ALWAYS = float("inf")

# Faults, and the operations on files that can have them.
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
    monkeypatch.setattr(drivers, "_drivers", {})


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
    """Path -> bytes of every object below `url` but the index of receipts, from the server."""
    s3 = server_itself(server)
    root = url.removeprefix("s3://")
    paths = (path for path in s3.find(root) if not path.endswith(f"/{INDEX}"))
    return {path.removeprefix(f"{root}/"): s3.cat_file(path) for path in paths}


def put_object(server: int, path: str, data: bytes) -> None:
    url = f"http://127.0.0.1:{server}{path}"
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data, headers, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def on_disk(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    files = (path for path in found if path.is_file() and path.name != INDEX)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def require_sound(server: int, url: str) -> int:
    """Every receipt's files are there and whole; returns the number of receipts."""
    objects = stored(server, url)
    receipts = [json.loads(data) for path, data in objects.items() if "/receipts/" in path]
    for receipt in receipts:
        for path, (size, sha) in receipt["files"].items():
            data = objects[f"train/{path}"]
            assert (len(data), sha256(data)) == (size, sha), path
    return len(receipts)
