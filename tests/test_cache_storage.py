"""What is no regular file, or far too large, in place of any file of a cache: one line, no hang.

And a disk that fails: neither missing nor damaged.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.errors import InputError, StorageError
from shared.files import retry
from shared.files.local import LocalFiles
from shared.store.opening import FORMATS, create_cache, open_cache
from tests.forging import SAMPLES, check_everything, everything, make_small
from tests.small_cache import make_head, make_keys, make_labels


def a_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "terabyte": a_sparse_file,
}


@pytest.fixture(scope="module", params=FORMATS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_small(folder, request.param)
    return folder


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Reading a FIFO would wait for ever."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process: a handler returns to `open`
    signal.alarm(120)
    yield
    signal.alarm(0)


def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """`path` is something else while the generator stands."""
    aside = path.with_name(".aside")
    path.rename(aside)
    try:
        make(path)
        yield
    finally:
        (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()
        aside.rename(path)


# Of many alike, which the same lines read, one each.
FILES = {
    "zarr": (
        "manifest.json",
        "receipts/v0000-b000001.json",
        "keys.txt",
        "head.npy",
        "targets.zarr/channels/zarr.json",
        "targets.zarr/channels/c/0/1/0",
        "targets.zarr/label/c/1",
    ),
    "webdataset": (
        "receipts/v0000-b000001.json",
        "shards/targets.json",
        "shards/v0000-b000001.tar",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_in_place_of_every_file(made: Path, kind: str) -> None:
    for name in FILES[open_cache(made, "train").manifest.format]:
        for _ in replaced(made / "train" / name, ODD[kind]):
            for read in (everything, check_everything):
                with pytest.raises(InputError) as caught:
                    read(made)
                assert len(str(caught.value).splitlines()) == 1, name


@pytest.mark.parametrize("kind", ["fifo", "link to nothing", "terabyte"])
def test_the_writer_puts_its_own_files_in_their_place(made: Path, kind: str) -> None:
    manifest = open_cache(made, "train").manifest
    name = "keys.txt" if manifest.format == "zarr" else "shards/targets.json"
    path = made / "train" / name
    whole = path.read_bytes()
    path.unlink()
    ODD[kind](path)
    head = make_head(width=manifest.teacher.channels[-1])
    create_cache(made, manifest, make_labels(SAMPLES), make_keys(SAMPLES), head)
    assert path.read_bytes() == whole and not path.is_symlink()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("operation", ["read", "exists", "names"])
def test_a_disk_that_fails_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, operation: str
) -> None:
    """Who takes an InputError for a damaged block must not take an outage for one."""
    asked = 0

    def fail(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(retry, "LOCAL_WAIT", 0)
    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(StorageError, match=f"cannot be read: {os.strerror(number)}"):
        getattr(LocalFiles(tmp_path), operation)("receipts")
    assert asked == (1 if number == errno.EACCES else retry.LOCAL_TRIES)


def test_a_file_in_place_of_a_folder_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    files = LocalFiles(tmp_path)
    assert not files.exists("a/b") and files.names("a") == []
    with pytest.raises(FileNotFoundError):
        files.read("a/b")
