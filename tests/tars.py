"""Tars of images for tests, as webdataset reads them, and an HTTP server of them that can fail."""

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from shared.files import drivers, retry
from shared.images.source import ImageSource
from tests.fault_proxy import FaultProxy

CLASSES = b"ant\nbee\ncat\n"
ONE = {"a.jpg": b"", "a.cls": b"0"}


def write_tar(path: Path, files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files.items():
            if name.endswith("/"):
                member = tarfile.TarInfo(name)
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_shards(folder: Path, split: str = "train", shards: int = 3) -> Path:
    """`shards` tars of four samples each, in every form that a sample may have."""
    for shard in range(shards):
        text = f"{split} {shard} "
        long = "long/" * 30 + f"{shard}"
        write_tar(
            folder / f"{split}-{shard:04d}.tar",
            {
                "folder/": b"",
                f"folder/{shard}.jpg": (text + "a").encode(),
                f"folder/{shard}.cls": b"0",
                f"folder/{shard}.txt": b"ignored",
                f"{shard}.json": json.dumps({"label": 1}).encode(),
                f"{shard}.PNG": (text + "bb").encode() * 300,
                f"{long}.cls": b"2\n",
                f"{long}.jpeg": (text + "ccc").encode() * 1000,
                f"a.{shard}.json": b"{}",  # no sample of its own: webdataset's key is "a"
                "a.cls": b"1",
                "a.jpg": b"",
            },
            (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[shard % 2],
        )
    (folder / "classes.txt").write_bytes(CLASSES)
    return folder


class Bytes(Dataset[bytes]):
    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __getitem__(self, index: int) -> bytes:
        return self.source.read(index)


class RangeHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    knows_ranges = True
    refuses = 0  # with this status
    says_none = False

    def do_HEAD(self) -> None:
        if self.refuses:
            self.send_error(self.refuses)
        else:
            super().do_HEAD()

    def end_headers(self) -> None:
        if self.says_none:
            self.send_header("Accept-Ranges", "none")
        super().end_headers()

    def do_GET(self) -> None:
        if self.refuses:
            self.send_error(self.refuses)
            return
        try:
            data = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        first, last = 0, len(data) - 1
        if wanted and self.knows_ranges:
            first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        body = data[first : last + 1]
        self.send_response(206 if wanted and self.knows_ranges else 200)
        if wanted and self.knows_ranges:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def behind_proxy(folder: Path) -> Iterator[FaultProxy]:
    """In front of an HTTP server of the folder's files."""

    def handler(*arguments: object) -> RangeHandler:
        return RangeHandler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with FaultProxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


@contextmanager
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """`behind_proxy`, with a driver, waits and a server as they are at the start of a process."""
    monkeypatch.setattr(drivers, "_drivers", {})
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    for name, value in (("knows_ranges", True), ("refuses", 0), ("says_none", False)):
        monkeypatch.setattr(RangeHandler, name, value)
    with behind_proxy(folder) as proxy:
        yield proxy
