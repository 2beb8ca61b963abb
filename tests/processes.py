"""The commands as real processes, on their own or as torchrun starts them."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


class Started:
    """A command of this project as a real process, output in files.

    It leads a session and a process group of its own, as what a scheduler starts does.
    """

    def __init__(self, script: str, flags: tuple[object, ...], environment: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._out = Path(self._folder.name)
        for name in ("stdout", "stderr"):  # here, because it may be killed before it does so
            (self._out / name).touch()
        arguments = (script, [str(flag) for flag in flags], str(self._out), environment)
        self._process = _SERVER.Process(target=_run_script, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it may end in this very moment
            os.kill(self._process.pid, number)

    def signal_group(self, number: int) -> None:
        """To it and all that it started, at once."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    @property
    def heeds_signals(self) -> bool:
        """True as soon as the command's own code decides what a signal does."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            caught = next(line for line in lines if line.startswith("SigCgt:"))
            return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
        return False

    def processes(self) -> list[int]:
        """Of its session, itself among them; not those that have ended."""
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                # pid (name) state ppid pgrp session; a name may hold anything
                stat = Path(f"/proc/{pid}/stat").read_text()
                state, _, _, session = stat.rpartition(")")[2].split()[:4]
                if state not in "ZX" and int(session) == self._process.pid:
                    found.append(int(pid))
        return found

    def require_none_left(self) -> None:
        """Waits for the last of them: what is killed takes a moment to end."""
        wait_until(lambda: self.processes() == [])

    def ends_within(self, seconds: float) -> bool:
        self._process.join(seconds)
        return not self.alive

    def wait(self, seconds: float | None = 300) -> "Finished":
        self._process.join(seconds)
        assert not self.alive, "the command hangs"
        assert self._process.exitcode is not None
        out, error = ((self._out / name).read_text() for name in ("stdout", "stderr"))
        self._folder.cleanup()
        return Finished(self._process.exitcode, out, error)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.005)


@dataclass(frozen=True)
class Finished:
    returncode: int  # negative: the signal that ended it
    stdout: str
    stderr: str


# Importing torch takes seconds. A server process imports once and is forked for every command; it
# has no threads, so that the fork is as clean as a start.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.preload"])


def _run_script(script: str, flags: list[str], out: str, environment: dict[str, str]) -> None:
    """In the new process: what `python SCRIPT FLAGS...` does, from the repository root."""
    os.setsid()
    # Whatever the shell that runs the tests made of them: started in the background, it ignores ^C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, target in (("stdout", 1), ("stderr", 2)):
        descriptor = os.open(f"{out}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, target)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    # A forkserver's children start theirs the same way; a command starts its workers as it does
    # everywhere.
    multiprocessing.set_start_method(None, force=True)
    os.environ.update(environment)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    sys.argv = [script, *flags]
    runpy.run_path(script, run_name="__main__")


def start(script: str, *flags: object, **environment: str) -> Started:
    return Started(script, flags, environment)


def start_halting(
    pattern: str, count: int, note: Path, script: str, *flags: object, **environment: str
) -> Started:
    """The command, halted where tests/halting.py says; `note` is a path that is free."""
    process = start("tests/halting.py", pattern, count, note, script, *flags, **environment)
    wait_until(lambda: note.exists() or not process.alive)
    assert note.exists(), process.wait()
    return process


def start_world(
    size: int,
    script: str,
    *flags: object,
    each: list[tuple[object, ...]] | None = None,
    machines: int = 1,
    **environment: str,
) -> list[Started]:
    """What torchrun starts: `size` processes that find each other on this machine.

    `each`: more flags for each of them. `machines`: as if they ran on so many.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = size // machines
    ranks = [
        {
            **{"RANK": str(r), "WORLD_SIZE": str(size)},
            **{"LOCAL_RANK": str(r % here), "LOCAL_WORLD_SIZE": str(here)},
        }
        for r in range(size)
    ]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    own = each or [()] * size
    return [
        start(script, *flags, *more, **rank, **address, **environment)
        for more, rank in zip(own, ranks, strict=True)
    ]


def finish(processes: list[Started]) -> list["Finished"]:
    """Each of them well."""
    finished = [process.wait() for process in processes]
    for done in finished:
        assert done.returncode == 0, done.stderr
    return finished
