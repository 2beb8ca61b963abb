"""Temporary files: a writer that lives keeps its own, one that died leaves it to whoever is next.

Each writer is a real process, stopped in the middle of a write: it waits inside its fsync.
"""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.files import temporary
from shared.files.local import LocalFiles
from tests.helpers import ROOT, wait_until

WRITER = """
import os, socket, sys, threading, time
from pathlib import Path
from shared.files.local import LocalFiles
def halt(descriptor):
    print("writing", 0, flush=True)
    time.sleep(3600)
os.fsync = halt
{before}
LocalFiles(Path(sys.argv[1])).write("a", b"half")
"""


@dataclass
class Writer:
    process: subprocess.Popen[str]
    child: int  # that it forked in the middle of its write; 0: none


@contextlib.contextmanager
def writer(folder: Path, before: str = "", wrapper: tuple[str, ...] = ()) -> Iterator[Writer]:
    """A process that holds a half-written temporary file."""
    command = [*wrapper, sys.executable, "-c", WRITER.format(before=before), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        child = 0
        try:
            assert process.stdout is not None
            word, number = process.stdout.readline().split()
            assert word == "writing"
            child = int(number)
            yield Writer(process, child)
        finally:
            process.kill()
            if child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def temporaries(folder: Path) -> list[Path]:
    return sorted(folder.glob(".tmp~*"))


def test_a_living_writers_file_stays_and_a_dead_ones_goes(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    with writer(tmp_path) as half:
        (path,) = temporaries(tmp_path)
        files.remove_stale()
        assert temporaries(tmp_path) == [path]
        half.process.kill()
    files.remove_stale()
    assert temporaries(tmp_path) == []


def test_a_zombies_file_goes(tmp_path: Path) -> None:
    """os.kill(pid, 0) takes one for alive: its parent has not waited for it."""
    files = LocalFiles(tmp_path)
    with writer(tmp_path) as half:
        half.process.kill()
        os.waitid(os.P_PID, half.process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and stays
        os.kill(half.process.pid, 0)
        files.remove_stale()
        assert temporaries(tmp_path) == []


def test_a_living_writer_of_another_container_keeps_its_file(tmp_path: Path) -> None:
    """Another PID namespace, the same host name: its process number is no process's here."""
    wrapper = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        wrapper = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no PID namespaces here")
    files = LocalFiles(tmp_path)
    with writer(tmp_path, wrapper=wrapper):
        (path,) = temporaries(tmp_path)
        files.remove_stale()
        assert temporaries(tmp_path) == [path]


def test_a_file_left_by_another_machine_goes(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    with writer(tmp_path, before="socket.gethostname = lambda: 'another~machine'") as half:
        files.remove_stale()
        (path,) = temporaries(tmp_path)
        assert path.name.startswith(".tmp~another-machine~")
        half.process.kill()
    files.remove_stale()
    assert temporaries(tmp_path) == []


FORKS = """
def halt(descriptor):
    if (child := os.fork()) == 0:
        time.sleep(3600)
    print("writing", child, flush=True)
    {after}
os.fsync = halt
"""


def test_a_process_forked_during_a_write_keeps_the_file_until_it_ends(tmp_path: Path) -> None:
    """As a loader worker that is forked while the writer thread has its file open."""
    files = LocalFiles(tmp_path)
    with writer(tmp_path, FORKS.format(after="time.sleep(3600)")) as half:
        half.process.kill()
        half.process.wait()
        files.remove_stale()
        assert len(temporaries(tmp_path)) == 1, "the child might have gone on writing"
        os.kill(half.child, signal.SIGKILL)
        wait_until(lambda: files.remove_stale() is None and temporaries(tmp_path) == [])


def test_a_write_that_ended_is_not_held_by_what_was_forked_meanwhile(tmp_path: Path) -> None:
    """The lock is given up by the writer, not by the last close."""
    before = FORKS.format(after="raise OSError(28, 'full')")
    before += "Path.unlink = lambda path: (_ for _ in ()).throw(OSError(30, 'read-only'))\n"
    with writer(tmp_path, before) as half:
        assert half.process.wait() == 1  # with its error, and its child lives on
        os.kill(half.child, 0)
        assert len(temporaries(tmp_path)) == 1
        LocalFiles(tmp_path).remove_stale()
        assert temporaries(tmp_path) == []


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
