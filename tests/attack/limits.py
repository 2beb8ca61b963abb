"""Too little memory, too few files, threads or bytes of disk, and workers that the kernel kills.

    python tests/attack/limits.py [ATTEMPTS]

Each must end in one line and exit code 2, within a minute and a half and without a process left (a
command that came to its end had enough: another attempt takes its place, with other numbers). With
enough of everything the same command goes on to the same bytes.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.attack.small_inputs import Inputs, small_inputs
from tests.attack.tally import Missed, Tally, attempts_wanted, problem_of
from tests.helpers import run, snapshot
from tests.processes import Started, start, wait_until
from tests.runs import load

DEFAULT = 30
MB = 10**6
KINDS = ("AS", "killed worker", "FSIZE", "NOFILE", "full disk", "read-only", "NPROC")


def main() -> int:
    tally = Tally("limits", attempts_wanted(DEFAULT))
    kinds = KINDS if os.getuid() else KINDS[:-1]  # root has no limit on processes
    with small_inputs() as inputs:
        whole = snapshot(Path(str(inputs.train[1])))
        for number in tally.numbers():
            draw = random.Random(number)
            kind = kinds[tally.attempts % len(kinds)]
            trains = tally.attempts // len(kinds) % 2 == 1
            workers = 2 if kind == "killed worker" else draw.choice((0, 2))
            name = f"{number}: {kind}, {'train' if trains else 'precompute'}, {workers} workers"
            try:
                problem = attack(inputs, draw, kind, trains, workers, whole)
            except Missed:
                tally.miss()
            else:
                tally.record(name, problem)
    return tally.finish()


def attack(
    inputs: Inputs,
    draw: random.Random,
    kind: str,
    trains: bool,
    workers: int,
    whole: dict[str, bytes | None],
) -> str | None:
    """What went wrong. Raises: Missed where nothing was lacking."""
    out = inputs.folder / ("run" if trains else "cache")
    shutil.rmtree(out, ignore_errors=True)
    if kind in ("full disk", "read-only"):
        with small_disk(out, draw.randrange(30_000, 300_000)) as there:
            if not there:
                kind = "FSIZE"  # no rights to mount
            else:
                command = command_of(inputs, out, trains, workers)
                process = start(str(command[0]), *command[1:])
                if kind == "read-only":
                    first = out / ("run.json" if trains else "train/receipts")
                    wait_until(lambda: first.exists() or not process.alive)
                    subprocess.run(["mount", "-o", "remount,ro,size=1g", out], check=False)
                return ended_well(process)
    command = command_of(inputs, out, trains, workers)
    if kind == "killed worker":
        process = start(str(command[0]), *command[1:])
        wait_until(lambda: len(process.processes()) >= 3 or not process.alive)
        time.sleep(draw.uniform(0, 0.5))
        for worker in [pid for pid in process.processes() if pid != process.pid][:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    else:
        # Of the cache; a checkpoint is larger by far, and what a command says is smaller.
        largest = max(len(data) for data in whole.values() if data is not None)
        room = {
            "AS": draw.randrange(0, 300 * MB), "FSIZE": draw.randrange(largest // 4, largest),
            "NOFILE": draw.randrange(2, 40), "NPROC": draw.randrange(0, 8),
        }  # fmt: skip
        process = start("tests/limited.py", json.dumps({kind: room[kind]}), *command)
    if problem := ended_well(process):
        return problem
    return goes_on_well(command, out, trains, whole)


def command_of(inputs: Inputs, out: Path, trains: bool, workers: int) -> tuple[object, ...]:
    if trains:
        return ("train/run.py", *inputs.train, "--out", out, "--workers", workers)
    return ("precompute/run.py", *inputs.precompute, "--cache", out, "--workers", workers)


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[bool]:
    """A file system of that size at `folder`; False without the rights to mount one."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def ended_well(process: Started) -> str | None:
    try:
        done = process.wait(90)
        process.require_none_left()
    except AssertionError as error:
        left = process.processes()
        process.signal_group(signal.SIGKILL)
        return f"{error}: processes {left}"
    if done.returncode == 0 and not done.stderr:
        raise Missed
    return problem_of(done.returncode, done.stderr, frozenset({2}))


def goes_on_well(
    command: tuple[object, ...], out: Path, trains: bool, whole: dict[str, bytes | None]
) -> str | None:
    done = run(str(command[0]), *command[1:], check=False)
    if done.returncode != 0:
        return f"it does not go on: {done.stderr[-200:]!r}"
    if trains:
        return None if load(out / "last.pt")["epoch"] == 2 else "the run is not finished"
    return None if snapshot(out) == whole else "the cache has other bytes"


if __name__ == "__main__":
    sys.exit(main())
