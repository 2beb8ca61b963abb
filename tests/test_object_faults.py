"""Every operation on an object store through every fault of the network: done, or one line."""

import errno
import re
import socket
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import InputError, StorageError
from shared.files import drivers, retry
from shared.files.objects import open_files
from shared.files.protocol import Files
from tests.fault_proxy import Fault, FaultProxy
from tests.s3 import ALWAYS, FAULTS, READ, WRITE, stored


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
        monkeypatch.setattr(drivers, "SILENCE_SECONDS", 0.5)
        monkeypatch.setattr(drivers, "_drivers", {})
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
    line = rf"the store does not answer: {s3}/train/\S+ failed 6 times in \d+ s, last with {text}; "
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
        InputError, match="s3://none/x/train/a cannot be written, as there is no such bucket"
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
