"""Files on a disk: written whole or not at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.files.local import LocalFiles
from tests.small_cache import (
    make_manifest,
    open_empty,
)
from tests.stores import (
    bytes_below,
    refused,
)


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".tmp" in str(path.relative_to(root))]


def test_write_replaces_and_leaves_no_trace(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "new" / "root")
    files.write("a/b/c", b"one")
    files.write("a/b/c", b"two")
    assert files.read("a/b/c") == b"two"
    assert files.exists("a/b/c") and not files.exists("a/b") and not files.exists("x")
    assert files.names("a/b") == ["c"] and files.names("x") == [] and files.names("a/b/c") == []
    assert temporaries(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        files.read("x")


def test_write_new_keeps_the_first(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert files.write_new("a", b"first") is True
    assert files.write_new("a", b"second") is False
    assert files.read("a") == b"first"
    assert temporaries(tmp_path) == []


def test_write_new_of_many_at_once_has_one_winner(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    wins: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if files.write_new("a", b"%d" % number * 1000):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert files.read("a") == b"%d" % wins[0] * 1000


def test_a_write_is_on_disk_before_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of the folder: in this order."""
    done: list[str] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> None:
            folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            done.append("fsync of the folder" if folder else name)
            real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "link"):
        record(name)
    files = LocalFiles(tmp_path)
    files.write("a", b"x")
    assert done == ["fsync", "replace", "fsync of the folder"]
    done.clear()
    assert files.write_new("b", b"x")
    assert done == ["fsync", "link", "fsync of the folder"]


@pytest.mark.parametrize("write", [LocalFiles.write, LocalFiles.write_new])
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., object]
) -> None:
    files = LocalFiles(tmp_path)
    files.write("old", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("old", "new"):
        text = refused(lambda name=name: write(files, name, b"x"))
        assert f"{tmp_path / name} cannot be written: No space left on device" in text
    assert files.read("old") == b"old"
    assert not files.exists("new")
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("write", [LocalFiles.write, LocalFiles.write_new])
def test_a_file_in_place_of_the_root_is_one_line(
    tmp_path: Path, write: Callable[..., object]
) -> None:
    """For a folder that cannot be written to: root may write to every one."""
    (tmp_path / "file").write_bytes(b"precious")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        text = refused(lambda root=root: write(LocalFiles(root), "a", b"x"))
        assert f"{root / 'a'} cannot be written: " in text
    text = refused(lambda: open_empty(tmp_path / "file", make_manifest()))
    assert "cannot be written" in text
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("a/b", b"x")
    assert f"{tmp_path / 'a'} cannot be written: Is a directory" in refused(
        lambda: files.write("a", b"x")
    )
    assert f"{tmp_path / 'a/b/c'} cannot be written: " in refused(
        lambda: files.write("a/b/c", b"x")
    )
    assert files.read("a/b") == b"x"
    assert temporaries(tmp_path) == []


def test_cleaning_up_disturbs_no_writer(tmp_path: Path) -> None:
    """One process ends, and cleans up, while others write."""
    files = LocalFiles(tmp_path)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(60):
                files.write(f"{number}/{round_ % 3}", b"x")
                files.remove_stale()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(bytes_below(tmp_path)) == 4 * 3


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    contents = {bytes([65 + n]) * 300_000 for n in range(3)}
    files.write("a", b"A" * 300_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                files.write("a", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {files.read("a") for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert seen <= contents
