"""SIGTERM, SIGINT or SIGHUP to a command's whole process group, as systemd and Slurm send them.

    python tests/attack/signals.py [ATTEMPTS]

At any moment from the command's first line on, sometimes twice. It must end with 128 + signal and
one line, without a traceback and without a process left; what was finished is there, and the same
command goes on to the same end.
"""

import random
import shutil
import signal
import sys
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.attack.small_inputs import Inputs, small_inputs
from tests.attack.tally import Missed, Tally, attempts_wanted, problem_of
from tests.helpers import run, snapshot
from tests.processes import Started, start, wait_until
from tests.runs import load

DEFAULT = 80
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    tally = Tally("signals", attempts_wanted(DEFAULT))
    with small_inputs() as inputs:
        whole = snapshot(Path(str(inputs.train[1])))
        for number in tally.numbers():
            draw = random.Random(number)
            sent = SIGNALS[number % 3]
            workers, trains = (number // 3) % 2 * 2, (number // 6) % 2 == 1
            try:
                name, problem = attack(inputs, draw, sent, workers, trains, whole, number % 8 == 7)
            except Missed:
                tally.miss()
                continue
            tally.record(f"{number}: {name}", problem)
    return tally.finish()


def attack(
    inputs: Inputs,
    draw: random.Random,
    sent: signal.Signals,
    workers: int,
    trains: bool,
    whole: dict[str, bytes | None],
    goes_on: bool,
) -> tuple[str, str | None]:
    """(what was done, what went wrong). Raises: Missed where the command ended before it heeded a
    signal."""
    out = inputs.folder / ("run" if trains else "cache")
    command: tuple[object, ...] = ("precompute/run.py", *inputs.precompute, "--cache", out)
    if trains:
        command = ("train/run.py", *inputs.train, "--out", out)
    process = start(str(command[0]), *command[1:], "--workers", workers)
    wait_until(lambda: process.heeds_signals or not process.alive)
    if late := draw.random() < 0.5:  # once it has finished something
        there = out / "last.pt" if trains else out / "train/receipts/v0000-b000001.json"
        wait_until(lambda: there.exists() or not process.alive)
    process.ends_within(draw.uniform(0, 0.3 if late else 0.6))
    before = finished(out, trains)
    process.signal_group(sent)
    if twice := sent != signal.SIGINT and draw.random() < 0.3:
        time.sleep(draw.uniform(0, 0.05))
        process.signal_group(sent)
    name = (
        f"{sent.name}{' twice' if twice else ''} to {command[0]} with {workers} workers, "
        f"{'late' if late else 'early'}"
    )
    try:
        problem = ended_well(process, sent)
    except Missed:
        shutil.rmtree(out, ignore_errors=True)  # it is finished: the next one begins from nothing
        raise
    if problem is None and finished(out, trains) < before:
        problem = "something that was finished is lost"
    if problem is None and goes_on:
        problem = goes_on_well(command, out, trains, whole)
    if goes_on or finished(out, trains) >= (200 if trains else 48):
        shutil.rmtree(out, ignore_errors=True)
    return name, problem


def finished(out: Path, trains: bool) -> int:
    """Steps of a run, by its checkpoint, or blocks of a cache."""
    if not trains:
        folder = out / "train/receipts"
        return len(list(folder.iterdir())) if folder.is_dir() else 0
    if not (out / "last.pt").exists():
        return 0
    state = load(out / "last.pt")
    return int(100 * state["epoch"] + state["step"])


def ended_well(process: Started, sent: signal.Signals) -> str | None:
    try:
        done = process.wait(60)
        process.require_none_left()
    except AssertionError as error:
        process.signal_group(signal.SIGKILL)
        return f"{error}: processes {process.processes()}"
    # 0: it had come to its end before. Its end itself ignores signals.
    if problem := problem_of(done.returncode, done.stderr, frozenset({0, 128 + sent})):
        return problem
    # Training says it on stdout where it has saved first.
    said = [line for line in done.stderr.splitlines() if line.startswith("stopped by ")]
    saved = [line for line in done.stdout.splitlines() if ": stopped in epoch " in line]
    lines = done.stderr.splitlines()
    if done.returncode == 0:
        if lines:
            return f"it ended well and said {lines}"
        raise Missed
    if len(lines) != len(said) or len(said) + len(saved) != 1:
        return f"more or less than one line: {done.stderr[-300:]!r}, {saved}"
    return None


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
