"""SIGKILL to precompute and to training, at any instant, their first half second above all.

    python tests/attack/kill.py [ATTEMPTS]

After each: no process is left. At the end, and after every fifth kill: the same command goes on,
leaves no temporary file, and a cache ends byte for byte as one that was never stopped.
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
from tests.attack.tally import Missed, Tally, attempts_wanted
from tests.helpers import run, snapshot
from tests.processes import start, wait_until
from tests.runs import load

DEFAULT = 60
EARLY = 0.5  # seconds


def main() -> int:
    tally = Tally("kill", attempts_wanted(DEFAULT))
    with small_inputs() as inputs:
        whole = snapshot(Path(str(inputs.train[1])))
        long = measured_seconds(inputs)
        for number in tally.numbers():
            draw = random.Random(number)
            precompute, workers = number % 2 == 0, draw.choice((0, 1, 2))
            out = inputs.folder / ("cache" if precompute else "run")
            command: tuple[object, ...] = ("precompute/run.py", *inputs.precompute, "--cache", out)
            if not precompute:
                command = ("train/run.py", *inputs.train, "--out", out)
            after = draw.uniform(0, EARLY if draw.random() < 0.5 else long)
            try:
                problem = killed(after, *command, "--workers", workers)
            except Missed:  # it was finished: the next one begins from nothing
                tally.miss()
                shutil.rmtree(out)
                continue
            if problem is None and number % 10 >= 8:
                problem = finished_whole(precompute, command, out, whole)
                shutil.rmtree(out, ignore_errors=True)
            what = "precompute" if precompute else "train"
            tally.record(f"{number}: {what}, {workers} workers, after {after:.2f} s", problem)
    return tally.finish()


def measured_seconds(inputs: Inputs) -> float:
    started = time.perf_counter()
    run("precompute/run.py", *inputs.precompute, "--cache", inputs.folder / "timed")
    return time.perf_counter() - started


def killed(after: float, *command: object) -> str | None:
    """Raises: Missed where the command had come to its end."""
    process = start(str(command[0]), *command[1:])
    wait_until(lambda: process.heeds_signals or not process.alive)
    process.ends_within(after)
    process.signal(signal.SIGKILL)
    done = process.wait()
    if done.returncode == 0:
        raise Missed
    if done.returncode != -signal.SIGKILL:
        return f"exit code {done.returncode}: {done.stderr[-200:]!r}"
    try:
        process.require_none_left()
    except AssertionError:
        return f"processes {process.processes()} are left"
    return None


def finished_whole(
    precompute: bool, command: tuple[object, ...], out: Path, whole: dict[str, bytes | None]
) -> str | None:
    done = run(str(command[0]), *command[1:], check=False)
    if done.returncode != 0:
        return f"it does not go on: {done.stderr[-200:]!r}"
    if left := [str(path) for path in out.rglob(".tmp~*")]:
        return f"temporary files are left: {left}"
    if precompute and snapshot(out) != whole:
        return "the cache has other bytes than one that was never stopped"
    if not precompute and load(out / "last.pt")["epoch"] != 2:
        return "the run is not finished"
    return None


if __name__ == "__main__":
    sys.exit(main())
