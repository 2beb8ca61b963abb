"""A command that is stopped, or whose disk fails, while a save is in flight."""

import signal
from pathlib import Path

import pytest

from shared.stop import told
from tests.helpers import require_refused, run_train
from tests.processes import start_halting, start_world
from tests.resuming import flags
from tests.runs import load, metrics, require_equal


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_sigterm_while_a_save_is_in_flight(
    cache: Path, whole: Path, tmp_path: Path, count: int
) -> None:
    """It is finished first, and told in one line; during an evaluation the process does not wait
    for its end. The same command ends as a run that was never stopped."""
    out = tmp_path / "run"
    command = (*flags(cache, out, "cached"), "--ema", 0.5, "--checkpoint-every", 2)
    process = start_halting("*/last.pt", count, tmp_path / "note", "train/run.py", *command)
    process.signal(signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    ended = [line for line in done.stdout.splitlines() if ": stopped in epoch " in line]
    ended += [line for line in done.stderr.splitlines() if line == told(signal.SIGTERM)]
    assert len(ended) == 1 and "Traceback" not in done.stderr, done
    assert load(out / "last.pt")["epoch"] <= 1
    run_train(*command)
    require_equal(load(out / "last.pt"), load(whole / "last.pt"))
    assert metrics(out) == metrics(whole)


def test_a_file_that_cannot_be_written(cache: Path, tmp_path: Path) -> None:
    """The thread that writes has the error; the command ends on it, with one line."""
    (tmp_path / "best.pt").mkdir()
    done = run_train(*flags(cache, tmp_path, "cached"), check=False)
    require_refused(
        done, f"error: {tmp_path}/best.pt cannot be written: Is a directory", "same command again"
    )
    assert load(tmp_path / "last.pt")["epoch"] == 0 and metrics(tmp_path) == []


@pytest.mark.slow
def test_a_first_process_that_cannot_write_ends_all(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").mkdir()
    command = (*flags(cache, tmp_path, "cached"), "--batch-size", 4)
    first, second = (each.wait() for each in start_world(2, "train/run.py", *command))
    require_refused(first, f"error: {tmp_path}/best.pt cannot be written: Is a directory")
    assert second.returncode != 0
