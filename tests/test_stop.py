"""Signals: to a command, to its group, to its workers; what each does, and how it is told."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.images.source import open_source
from shared.loaders.pixel_loader import PixelLoader
from shared.stop import Stopped, StopRequest, check, told
from tests.helpers import (
    ROOT,
    STUDENT,
    TEACHER,
    start,
    wait_until,
    write_image_folder,
    write_teacher,
)
from tests.helpers import run as run_script
from tests.runs import load

COMMAND = """
import os, signal, sys, time
from shared.errors import run_command
from shared.stop import StopRequest, check
def main():
{body}
run_command(main)
"""


def command(body: str, **options: object) -> subprocess.Popen[str]:
    """A command whose main has this body; it has printed "ready"."""
    lines = "\n".join(f"    {line}" for line in ["print('ready', flush=True)", *body.split("\n")])
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(body=lines)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=60)
    return process.returncode, out, error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "import json, xml.dom.minidom\nwhile True: pass",
        # Where an exception would be swallowed or told as a traceback.
        "class Slow:\n    def __del__(self): time.sleep(60)\nSlow()",
        "try:\n    time.sleep(60)\nexcept BaseException:\n    pass\ntime.sleep(60)",
    ],
    ids=["waiting", "computing", "destructor", "swallowing"],
)
def test_one_line_wherever_it_is(number: signal.Signals, body: str) -> None:
    process = command(body)
    process.send_signal(number)
    assert ended(process) == (128 + number, "", f"{told(number)}\n")


def test_what_is_told() -> None:
    assert told(signal.SIGTERM) == "stopped by SIGTERM: the same command resumes where it stopped"
    assert told(signal.SIGINT).startswith("stopped by Ctrl-C: ")
    text = "stopped by SIGHUP: one is lost; the same command resumes where it stopped"
    assert str(Stopped(signal.SIGHUP, "one is lost")) == text


def test_printed_lines_are_not_lost() -> None:
    process = command("print('half a line', end='')\nprint('x', file=sys.stderr, flush=True)\n"
                      "time.sleep(60)")  # fmt: skip
    assert process.stderr is not None and process.stderr.readline() == "x\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[1] == "half a line"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_was_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    """nohup ignores a hang-up, a shell ^C for what it starts in the background."""
    process = command("sys.stdin.readline()\nreturn 0", stdin=subprocess.PIPE,
                      preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))  # fmt: skip
    process.send_signal(number)
    assert process.stdin is not None
    process.stdin.write("go\n")
    assert ended(process) == (0, "", "")


ASKING = """with StopRequest() as stop:
    print("open", flush=True)
    while stop.signal is None: time.sleep(0.005)
    print(stop.signal, flush=True)
    sys.stdin.readline()
    {end}
return 0"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_repeated_signals_do_not_hurry_a_loop_that_saves(number: signal.Signals) -> None:
    """torchrun forwards a SIGTERM to processes that have had the group's."""
    process = command(ASKING.format(end="check('all is kept')"), stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.send_signal(number)
    assert process.stdout.readline() == f"{int(number)}\n"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)  # the first Ctrl-C
    process.stdin.write("go\n")
    assert ended(process) == (128 + number, "", f"{told(number, 'all is kept')}\n")


def test_a_second_ctrl_c_ends_a_loop_that_saves() -> None:
    process = command(ASKING.format(end=""), stdin=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == f"{int(signal.SIGINT)}\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert process.communicate()[1] == f"{told(signal.SIGINT)}\n"


def test_a_loop_with_nothing_to_lose_ends_at_once() -> None:
    process = command(
        "with StopRequest() as stop:\n    stop.unsaved = False\n"
        "    print('x', file=sys.stderr, flush=True)\n    time.sleep(60)"
    )
    assert process.stderr is not None and process.stderr.readline() == "x\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "", f"{told(signal.SIGTERM)}\n")


@pytest.fixture
def handlers() -> Iterator[list[object]]:
    """Of this process; they are put back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield before
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_handlers_are_put_back(handlers: list[object]) -> None:
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != handlers[0]
        check()
    assert signal.getsignal(signal.SIGTERM) == handlers[0]


def test_after_a_signal_a_repetition_still_changes_nothing(handlers: list[object]) -> None:
    """Else a second SIGTERM would end the process while it leaves, with a second line."""
    with pytest.raises(Stopped), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: stop.signal is not None)
        check()
    os.kill(os.getpid(), signal.SIGTERM)
    check()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        run_script(
            *("precompute/run.py", "--split", "train", "--images", folder / "images"),
            *("--weights", folder / "teacher.pt", *TEACHER, "--views", 2),
            *("--size", 32, "--block", 6, "--format", store, "--cache", folder / store),
        )
    return folder


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_a_group_that_gets_sigterm_saves_first(made: Path, tmp_path: Path, store: str) -> None:
    """As systemd and Slurm send it: workers used to die first, and the checkpoint was lost."""
    flags = (*STUDENT, "--cache", made / store, "--epochs", 40, "--batch-size", 4, "--lr", 0.02)
    process = start("train/run.py", *flags, "--workers", 2, "--out", tmp_path)
    wait_until(lambda: (tmp_path / "last.pt").exists() or not process.alive)
    process.signal_group(signal.SIGTERM)
    process.signal_group(signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    lines = [*done.stderr.splitlines(), *done.stdout.splitlines()]
    assert sum("stopped " in line for line in lines) == 1 and "Traceback" not in done.stderr
    process.require_none_left()
    saved = load(tmp_path / "last.pt")
    assert 0 <= saved["epoch"] < 40


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
