"""Temporary files where names are odd, locks fail, files vanish, or nothing can be written."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.files import temporary
from shared.files.local import LocalFiles
from tests.half_written import temporaries


def test_names_that_look_odd_end_nothing(tmp_path: Path) -> None:
    host = temporary.socket.gethostname()
    odd = [f".tmp~{host}~abc~x", f".tmp~{host}~{10**30}~1~x", f".tmp~{host}~-1~1~x", ".tmp~~~~"]
    for name in odd:
        (tmp_path / name).write_bytes(b"")
    kept = [tmp_path / name for name in (".tmp~what~ever", ".tmp~", ".tmp", "tmp~a~b~c")]
    for path in kept:
        path.write_bytes(b"")
    folder, pipe, link = (tmp_path / f".tmp~{host}~1~{n}~x" for n in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    (tmp_path / "precious").write_bytes(b"precious")
    link.symlink_to(tmp_path / "precious")
    LocalFiles(tmp_path).remove_stale()
    assert set(tmp_path.iterdir()) == {*kept, folder, pipe, link, tmp_path / "precious"}
    assert not temporaries(tmp_path / "precious") and link.read_bytes() == b"precious"
    LocalFiles(tmp_path / "absent").remove_stale()
    assert not (tmp_path / "absent").exists()


def test_without_locks_what_was_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    files = LocalFiles(tmp_path)
    left = tmp_path / ".tmp~host~1~2~x"
    left.write_bytes(b"")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    files.write("a", b"whole")
    files.remove_stale()
    assert files.read("a") == b"whole" and temporaries(tmp_path) == [left]


@pytest.mark.parametrize("call", [LocalFiles.write, LocalFiles.write_new])
def test_a_file_that_vanishes_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., object]
) -> None:
    """Between `open` and `flock`, and where locks do not reach: before it gets its name."""
    flock, fsync, removed = fcntl.flock, os.fsync, []

    def remove_some(real: Callable[..., None], *arguments: int) -> None:
        for path in temporaries(tmp_path):
            if len(removed) < 4:
                path.unlink()
                removed.append(path)
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", lambda *a: remove_some(flock, *a))
    monkeypatch.setattr(os, "fsync", lambda d: remove_some(fsync, d))
    call(LocalFiles(tmp_path), "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole" and len(removed) == 4
    assert temporaries(tmp_path) == []


def test_cleaners_and_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Several cleaners without a pause: no write fails, and none of the files stays."""
    files, stop = LocalFiles(tmp_path), threading.Event()

    def clean() -> None:
        while not stop.is_set():
            files.remove_stale()

    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for number in range(200):
            files.write(str(number), b"x")
    finally:
        stop.set()
        for cleaner in cleaners:
            cleaner.join()
    assert len(files.names(".")) == 200 and temporaries(tmp_path) == []


@pytest.mark.parametrize("call", [LocalFiles.write, LocalFiles.write_new])
@pytest.mark.parametrize("step", ["open", "fsync", "publish"])
def test_a_file_system_that_is_read_only_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., object], step: str
) -> None:
    """Its folder exists; removing the temporary file fails as well."""
    files = LocalFiles(tmp_path)
    files.write("old", b"old")

    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    failing = {"open": ["open"], "fsync": ["fsync"], "publish": ["replace", "link"]}[step]
    with monkeypatch.context() as patch:
        for name in (*failing, "unlink"):
            patch.setattr(os, name, read_only)
        with pytest.raises(InputError, match="cannot be written") as caught:
            call(files, "new", b"x")
    assert f"{tmp_path / 'new'} cannot be written: Read-only file system; nothing that was" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    files.remove_stale()
    assert files.names(".") == ["old"]
