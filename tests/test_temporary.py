"""Temporary files: a writer that lives keeps its own, one that died leaves it to the next one."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from shared.files.local import LocalFiles
from tests.half_written import temporaries, writer
from tests.helpers import wait_until


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
