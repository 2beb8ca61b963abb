"""Workers heed no signal but their parent's, and end with it, however they were started."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.images.source import open_source
from shared.loaders.pixel_loader import PixelLoader
from tests.helpers import ROOT, wait_until

METHODS = ("fork", "spawn", "forkserver")


OBEDIENT = """
import multiprocessing, subprocess, sys, time
from shared.loaders.worker import begin_worker, held_signals
def work(ready):
    begin_worker()
    ready.set()
    time.sleep(3600)
def kill_from_outside(pid):
    for name in ("TERM", "INT", "HUP"):
        subprocess.run(["kill", f"-{{name}}", str(pid)], check=True)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    ready = context.Event()
    with held_signals(context):
        process = context.Process(target=work, args=(ready,), daemon=True)
        process.start()
    kill_from_outside(process.pid)
    assert ready.wait(60)
    for _ in range(3):
        kill_from_outside(process.pid)
    assert process.is_alive()
    process.terminate()
    process.join(60)
    assert process.exitcode == 0
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_heeds_its_parent_alone(tmp_path: Path, method: str) -> None:
    """From its very start: here the signals come before its first line, mostly."""
    script = tmp_path / "parent.py"
    script.write_text(OBEDIENT.format(method=method))
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def kill_from_outside(pid: int) -> None:
    for name in ("TERM", "INT", "HUP"):
        subprocess.run(["kill", f"-{name}", str(pid)], check=True)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_started_meanwhile_begins_with_the_signals_blocked(
    tmp_path: Path, method: str
) -> None:
    """The mask before its first line is what it inherits; the parent's own is put back."""
    script = tmp_path / "parent.py"
    script.write_text(MASKS.format(method=method))
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[1, 2, 15] []\n", "")


MASKS = """
import multiprocessing, signal
from shared.loaders.worker import held_signals
def mask():
    return sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
def work(sender):
    sender.send(mask())
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    receiver, sender = context.Pipe(duplex=False)
    with held_signals(context):
        process = context.Process(target=work, args=(sender,))
        process.start()
    print(receiver.recv(), mask())
    process.join()
"""


PARENT = """
import multiprocessing, os, sys, time
from shared.loaders import worker
from shared.loaders.worker import held_signals
def work():
    {delay}
    worker.begin_worker()
    time.sleep(3600)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with held_signals(context):
        children = [context.Process(target=work, daemon=True) for _ in range(2)]
        for child in children: child.start()
    print(*(child.pid for child in children), flush=True)
    time.sleep(3600)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("portable", [False, True], ids=["prctl", "sentinel"])
@pytest.mark.parametrize("early", [True, False], ids=["while starting", "later"])
def test_workers_end_with_a_parent_that_was_killed(
    tmp_path: Path, method: str, portable: bool, early: bool
) -> None:
    """Also where it ended before their first line: they used to wait for work for ever."""
    delay = f"open({str(tmp_path / 'begun')!r}, 'a').write('x')\n"
    if early:
        delay += f"    while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.005)\n"
    if portable:
        delay += "    worker.sys = type('', (), {'platform': 'other'})\n"
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(delay=delay, method=method))
    parent = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    begun = tmp_path / "begun"
    wait_until(lambda: begun.exists() and len(begun.read_text()) == 2)
    assert all(map(running, workers))
    parent.kill()
    parent.wait()
    (tmp_path / "go").touch()
    wait_until(lambda: not any(map(running, workers)))
    parent.stdout.close()


def running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may end while this is read
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_loader_workers_leave_signals_to_their_parent(image_folder: Path) -> None:
    loader = PixelLoader((open_source(str(image_folder), "train"),), 16, 2, pin_memory=False)
    loader.start()
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        assert child.pid is not None
        kill_from_outside(child.pid)
        status = Path(f"/proc/{child.pid}/status").read_text()
        blocked = re.search(r"^SigBlk:\s*(\w+)", status, re.M)
        assert blocked is not None and int(blocked[1], 16) >> (signal.SIGTERM - 1) & 1
    assert list(loader.batches([])) == []
    assert sorted(c.pid for c in multiprocessing.active_children()) == sorted(
        c.pid for c in children
    )
    del loader
    wait_until(lambda: multiprocessing.active_children() == [])
