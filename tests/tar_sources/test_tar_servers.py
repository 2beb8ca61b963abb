"""Servers of tars that send no parts of files, refuse, or have none: one line, at once."""

import contextlib
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.errors import InputError, StorageError
from shared.files import drivers, ranges
from shared.images.source import open_source
from tests.fault_proxy import FaultProxy
from tests.tars import RangeHandler


def test_a_server_without_ranges(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    monkeypatch.setattr(RangeHandler, "knows_ranges", False)
    with pytest.raises(InputError) as caught:
        source.read(1)
    assert str(caught.value) == (
        f"the server does not send parts of files: {proxy.url}/train-0000.tar; tars are read image "
        f"by image, so the server must know sizes and answer requests with Range: download the "
        f"files, or use another server"
    )


def test_a_server_that_says_it_has_no_ranges(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RangeHandler, "says_none", True)
    with pytest.raises(InputError, match=r"^the server does not send parts of files: http"):
        open_source(proxy.url + "/train-{0000..0002}.tar", "train")


def test_a_whole_file_is_not_read_for_a_part_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ignores the range answers with a terabyte, of which nothing is waited for."""
    monkeypatch.setattr(drivers, "_drivers", {})
    monkeypatch.setattr(drivers, "SILENCE_SECONDS", 30)

    class Endless(RangeHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            with contextlib.suppress(OSError):  # until the client goes
                while True:
                    self.wfile.write(bytes(1 << 16))

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with pytest.raises(InputError, match=r"^the server does not send parts of files: http"):
                ranges.read_range(f"http://127.0.0.1:{server.server_address[1]}/a.tar", 512, 1000)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [401, 403, 400, 451])
def test_a_refusal_of_a_url_is_final(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    monkeypatch.setattr(RangeHandler, "refuses", status)
    del proxy.requests[:]
    with pytest.raises(StorageError) as caught:
        source.read(2)
    what = "access" if status in (401, 403) else "the request"
    start = f"the store refuses {what}: {proxy.url}/train-0000.tar: "
    assert str(caught.value).startswith(start) and f"HTTP status {status}" in str(caught.value)
    assert len(proxy.requests) == 1
    with pytest.raises(StorageError, match=f"refuses {what}: "):
        open_source(proxy.url + "/train-{0000..0002}.tar", "train")


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_a_missing_file(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    source = open_source(proxy.url + "/train-{0000..0002}.tar", "train")
    monkeypatch.setattr(RangeHandler, "refuses", status)
    del proxy.requests[:]
    with pytest.raises(InputError, match=r"train-0000.tar cannot be read: no such file; "):
        source.read(2)
    assert len(proxy.requests) == 1
