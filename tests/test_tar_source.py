"""WebDataset tars as a source: what webdataset reads, at random, local and across a network."""

import contextlib
import io
import json
import pickle
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset
from webdataset.tariterators import group_by_keys, tar_file_iterator

from shared.errors import InputError, StorageError
from shared.files import objects as object_files
from shared.files import ranges, retry
from shared.images import source as images
from shared.images.source import ImageSource, open_source
from shared.images.tar_patterns import folder_shards, pattern_shards
from tests import helpers
from tests.fault_proxy import Fault, FaultProxy

CLASSES = b"ant\nbee\ncat\n"


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


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


def reference(folder: Path, split: str) -> tuple[list[str], list[bytes], list[int]]:
    """As webdataset reads it."""
    keys, data, labels = [], [], []
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with path.open("rb") as file:  # webdataset.WebDataset leaves its files open
            for sample in group_by_keys(
                {**part, "__url__": ""} for part in tar_file_iterator(file)
            ):
                keys.append(sample["__key__"])
                data.append(next(sample[x] for x in ("jpg", "jpeg", "png") if x in sample))
                label = sample.get("cls") or str(json.loads(sample["json"])["label"])
                labels.append(int(label))
    return keys, data, labels


def test_it_is_what_webdataset_reads(folder: Path) -> None:
    write_shards(folder, "val", 2)
    for split, count in (("train", 12), ("val", 8)):
        source = open_source(str(folder), split)
        keys, data, labels = reference(folder, split)
        assert list(source.keys) == keys and source.labels.tolist() == labels
        assert [source.read(i) for i in range(len(source))] == data
        assert len(source) == count and source.classes == ("ant", "bee", "cat")
        assert (source.policy, source.size) == (None, None)


@pytest.mark.parametrize(
    "pattern",
    [
        "{{split}}-{{0000..0002}}.tar",
        "train-{{0000..0002}}.tar",
        "{{train-{{0000..0002}},val-0000}}.tar",
        "{{split}}-000{{0,1,2}}.tar",
    ],
)
def test_patterns(folder: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_source(str(folder), "train")
    pattern = pattern.format()
    assert open_source(f"{folder}/{pattern}", "train").digest == whole.digest
    monkeypatch.chdir(folder)
    source = open_source(pattern, "train")
    monkeypatch.chdir("/")
    assert source.read(11) == whole.read(11)


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["train-0.tar", "val-0.tar"], "train", ["train-0.tar"]),
        (["imagenet1k-train-0.tar", "imagenet1k-validation-0.tar"], "val", [1]),
        (["training.tar", "x.train.tar"], "train", ["x.train.tar"]),
        (["a_val_1.tar", "a_val_0.tar", ".tmp~a~val.tar"], "val", ["a_val_0.tar", "a_val_1.tar"]),
        (["trainer-val-0.tar"], "train", []),
    ],
)
def test_the_split_is_a_word_of_the_name(
    tmp_path: Path, names: list[str], split: str, expected: list[str | int]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    wanted = [names[name] if isinstance(name, int) else name for name in expected]
    assert folder_shards(tmp_path, split) == [str(tmp_path / name) for name in wanted]


def test_the_split_may_be_the_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_shards(tmp_path / split, "part", 1)
    spec = f"{tmp_path}/{{train,val}}/part-0000.tar"
    assert pattern_shards(spec, "val") == [f"{tmp_path}/val/part-0000.tar"]
    assert len(open_source(f"{tmp_path}/{{split}}/part-0000.tar", "train")) == 4


def test_limit_pickle_and_take(folder: Path) -> None:
    whole = open_source(str(folder), "train")
    limited = open_source(str(folder), "train", limit=5)
    copy = pickle.loads(pickle.dumps(limited))
    index = [i * 12 // 5 for i in range(5)]
    assert [copy.read(i) for i in range(5)] == [whole.read(i) for i in index]
    assert list(limited.keys) == [whole.keys[i] for i in index]
    part = whole.reader.take(np.array([7, 3]))
    assert [part.read(0), part.read(1)] == [whole.read(7), whole.read(3)]


assert helpers  # its server of processes has imported torch already: seconds each


class Bytes(Dataset[bytes]):
    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __getitem__(self, index: int) -> bytes:
        return self.source.read(index)


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("forkserver", 1)])
def test_loader_workers_read_the_same(folder: Path, context: str, workers: int) -> None:
    source = open_source(str(folder), "train")
    expected = [source.read(i) for i in range(12)]  # the parent has read before it forks
    loader = DataLoader(
        Bytes(source),
        batch_size=None,
        sampler=range(12),
        num_workers=workers,
        multiprocessing_context=context,
    )
    assert list(loader) == expected


def test_a_kept_listing_is_true_to_size_and_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.images.kept_listing.FEWEST", 1)
    first = open_source(str(folder), "train")
    opened = []
    monkeypatch.setattr("shared.images.tars.open_ranges", lambda path: opened.append(path))
    second = open_source(str(folder), "train")
    assert (second.digest, second.read(5), opened) == (first.digest, first.read(5), [])
    monkeypatch.undo()
    monkeypatch.setattr(images, "DATA", folder.parent / "data")
    write_tar(folder / "train-0001.tar", {"x.jpg": b"x", "x.cls": b"2"})
    assert len(open_source(str(folder), "train")) == 9
    (folder / "classes.txt").unlink()
    assert open_source(str(folder), "train").classes == ("0", "1", "2")


def test_class_names(folder: Path) -> None:
    for path in folder.glob("*.tar"):
        path.unlink()
    samples = {"a.jpg": b"", "a.json": b'{"class": "bee"}', "b.jpg": b"", "b.json": b'{"cls": 2}'}
    write_tar(folder / "train-0.tar", samples)
    assert open_source(str(folder), "train").labels.tolist() == [1, 2]
    (folder / "classes.txt").unlink()
    (folder / "classes.json").write_text('["bee", "x", "y"]')
    source = open_source(str(folder), "train")
    assert source.labels.tolist() == [0, 2] and source.classes == ("bee", "x", "y")


ONE = {"a.jpg": b"", "a.cls": b"0"}
RULE = ": it must hold one image (jpg, jpeg, png) and its label (cls or json)"
LABEL = " is not a label: it must be an integer in cls, or json with "
CLASS = " is not one of the classes beside the first tar (the 3 of classes.txt), tars from "


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"a.jpg": b""}, "the sample a in {tar} holds jpg" + RULE),
        ({"b.cls": b"0", **ONE}, "the sample b in {tar} holds cls" + RULE),
        ({**ONE, "a.png": b""}, "the sample a in {tar} holds jpg, cls, png" + RULE),
        ({"README": b"", **ONE}, "the sample README in {tar} holds " + RULE),
        ({"a.jpg": b"", "a.cls": b"one"}, "b'one' in a.cls of {tar}" + LABEL),
        (
            {"a.jpg": b"", "a.json": b'{"label": true}'},
            "b'{{\"label\": true}}' in a.json of {tar}" + LABEL,
        ),
        ({"a.jpg": b"", "a.json": b"[1]"}, "b'[1]' in a.json of {tar}" + LABEL),
        ({"a.jpg": b"", "a.cls": b"3"}, "the label 3 of a" + CLASS),
        ({"a.jpg": b"", "a.cls": b"-1"}, "the label -1 of a" + CLASS),
        (
            {"a.jpg": b"", "a.json": b'{"class": "dog"}'},
            "the label 'dog' of a" + CLASS,
        ),
        ({}, "the tars of the split hold no images: {tar}"),
    ],
)
def test_errors_of_samples(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    tar = tmp_path / "train-0.tar"
    write_tar(tar, files)
    (tmp_path / "classes.txt").write_bytes(CLASSES)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path), "train")
    assert str(caught.value).startswith(text.format(tar=tar)) and "\n" not in str(caught.value)


def test_errors_of_class_files(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {"a.jpg": b"", "a.json": b'{"class": "dog"}'})
    with pytest.raises(
        InputError, match=r"^the label 'dog' of a is .* \(there is no classes.txt\)"
    ):
        open_source(str(tmp_path), "train")
    for text in ("{}", "[1]", "nonsense"):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(InputError, match=r"classes.json is not a list of names: write one"):
            open_source(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("spec", "split", "text"),
    [
        ("{root}/train-{{0000..0004}}.tar", "train", "2 of the 5 tars of the pattern "
         "{root}/train-{{0000..0004}}.tar do not exist, first {root}/train-0003.tar: correct the "),
        ("{root}/train-{{0000..0002}}.tar", "val", "{root}/train-{{0000..0002}}.tar names no tars "
         "of val: a pattern names those of each split, like DIR/{{split}}-{{000..099}}.tar or "
         "DIR/{{train-{{000..099}},val-{{00..07}}}}.tar"),
        ("{root}/train-{{0..1.tar", "train", "--images {root}/train-{{0..1.tar has braces that do "
         "not come in pairs, or more than 50 deep: close each {{ with a }}"),
        ("http://host/train", "train", "http://host/train names no tars of train: a pattern "),
        ("{root}", "val", "--split must be a folder in {root}, got val: found no folders; no tars "
         "of val among its files"),
    ],
)  # fmt: skip
def test_errors_of_patterns(folder: Path, spec: str, split: str, text: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(spec.format(root=folder), split)
    assert str(caught.value).startswith(text.format(root=folder))


@pytest.mark.parametrize("cut", [0, 700, -5000])
def test_a_damaged_tar(folder: Path, cut: int) -> None:
    path = folder / "train-0001.tar"
    data = path.read_bytes()
    if cut > 0:  # a header
        path.write_bytes(data[:1536] + b"\1" + data[1537:])
    else:
        path.write_bytes(data[:cut] if cut else b"")
    if cut < 0:  # within the padding at the end nothing is lost; cut into the last image
        end = data.rindex(b"train 1 ccc")
        path.write_bytes(data[: end - 100])
    with pytest.raises(InputError, match=f"^{path} is not a sound, uncompressed tar: "):
        open_source(str(folder), "train")


# Across a network


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


@pytest.fixture
def proxy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """In front of an HTTP server of the shards."""
    monkeypatch.setattr(object_files, "_drivers", {})
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    for name, value in (("knows_ranges", True), ("refuses", 0), ("says_none", False)):
        monkeypatch.setattr(RangeHandler, name, value)

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
    monkeypatch.setattr(object_files, "_drivers", {})
    monkeypatch.setattr(object_files, "SILENCE_SECONDS", 30)

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
