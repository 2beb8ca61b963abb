"""Signals to a command: what each does, once and again, and how it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared.stop import Stopped, StopRequest, check, told
from tests.processes import ROOT, wait_until

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


def test_a_second_signal_while_it_ends_prints_no_second_line() -> None:
    """The first comes before the last save and the second after it, as a group may get them."""
    process = command(
        "with StopRequest() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    stop.unsaved = False\n"
        "    try:\n"
        "        stop.check('all is saved')\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)"
    )
    line = told(signal.SIGTERM, "all is saved")
    assert ended(process) == (128 + signal.SIGTERM, "", f"{line}\n")


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
