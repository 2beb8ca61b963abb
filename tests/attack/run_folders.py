"""Forged run.json, metrics.jsonl, last.pt and best.pt against train/run.py, eval.py and report.py.

    python tests/attack/run_folders.py [ATTEMPTS]        (default 250)

Each attempt puts one forgery into a copy of a real run folder and lets one of the three read it:
training resumes as train/run.py does, without taking steps; evaluation and report are their main().
Allowed is success, or one line (InputError, StorageError). A folder that was refused must hold
afterwards what it held before. All of it in this process, each attempt with a limit in seconds.
"""

import argparse
import contextlib
import filecmp
import io
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import train.eval
import train.report
from shared.errors import InputError, StorageError
from tests.attack.run_forgeries import chosen
from tests.attack.tally import Tally, attempts_wanted
from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from train.flags import add_flags
from train.folder import RunFolder
from train.input import open_input
from train.resume import resume
from train.setup import make_setup
from train.state import TrainState

DEFAULT = 250
SECONDS = 60  # an attempt may take so long; one that reads a FIFO would take forever


def main() -> int:
    tally = Tally("run_folders", attempts_wanted(DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        for number, (name, kind, forge) in enumerate(chosen()):
            draw = random.Random(f"{number} {name} {kind}")
            out = Path(folder) / "attempt"
            copy_run(made / "run", out, name)
            forge(out / name, draw)
            if (out / name).is_file() and filecmp.cmp(out / name, made / "run" / name, False):
                tally.miss()
                shutil.rmtree(out)
                continue
            for reader, read in READERS.items():
                if reader in WHO[name]:
                    tally.record(f"{name} {kind} ({number}), {reader}", problem(read, made, out))
            shutil.rmtree(out)
            if tally.attempts >= tally.wanted:
                break
    return tally.finish()


def make(folder: Path) -> Path:
    """Images, a cache and a run of one epoch whose weights are averaged."""
    write_image_folder(folder / "images", classes=3, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
        *(*TEACHER, "--size", 32, "--cache", folder / "cache"),
    )
    run_train(*flags(folder, folder / "run"))
    for name in ("curves.png", "done"):
        (folder / "run" / name).unlink()
    return folder


def flags(made: Path, out: Path) -> list[str]:
    common = [*STUDENT, "--cache", made / "cache", "--images", made / "images", "--batch-size", 6]
    more = ["--epochs", 1, "--lr", 0.01, "--ema", 0.5, "--precision", "fp16", "--device", "cpu"]
    return list(map(str, [*common, *more, "--out", out]))


# What reads a run folder


def training(made: Path, out: Path) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    setup = make_setup(parser.parse_args(flags(made, out)))
    feed = open_input(setup)
    try:
        folder = RunFolder(setup.folder)
        folder.open(setup.identity, setup.facts)
        resume(setup, feed, folder, TrainState(setup, feed.layout))
    finally:
        feed.close()


def evaluation(made: Path, out: Path, name: str = "best.pt") -> None:
    common = ["--images", str(made / "images"), "--device", "cpu", "--workers", "0"]
    call(train.eval.main, "eval.py", "--checkpoint", str(out / name), *common)


def evaluation_of_last(made: Path, out: Path) -> None:
    evaluation(made, out, "last.pt")


def report(made: Path, out: Path) -> None:
    call(train.report.main, "report.py", str(out), "--out", str(made / "report.png"))


READERS: dict[str, Callable[[Path, Path], None]] = {
    "training": training,
    "evaluation": evaluation,
    "evaluation of last.pt": evaluation_of_last,
    "report": report,
}
WHO = {
    "run.json": tuple(READERS),
    "metrics.jsonl": ("training", "report"),
    "last.pt": ("training", "evaluation of last.pt"),
    "best.pt": ("evaluation",),
}


def call(command: Callable[[], int], *arguments: str) -> None:
    sys.argv = list(arguments)
    assert command() == 0


def problem(read: Callable[[Path, Path], None], made: Path, out: Path) -> str | None:
    before = state_of(out)
    try:
        quiet = io.StringIO()
        with limited(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            read(made, out)
        return None
    except (InputError, StorageError) as error:
        if "\n" in str(error) or not str(error):
            return f"not one line: {str(error)[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return None if state_of(out) == before else "refused, and changed"


def state_of(folder: Path) -> dict[str, object]:
    """Name -> what changes whenever it is written or replaced; nothing is opened."""
    stats = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (s.st_mode, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in stats.items()}


def copy_run(run: Path, out: Path, forged: str) -> None:
    """Links, but for the file that is to be forged: checkpoints are large."""
    out.mkdir()
    for path in run.iterdir():
        if path.name == forged:
            shutil.copy(path, out / path.name)
        else:
            os.link(path, out / path.name)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it hangs: more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
