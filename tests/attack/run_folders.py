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
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

import train.eval
import train.report
from shared.errors import InputError, StorageError
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
NAMES = ("run.json", "metrics.jsonl", "last.pt", "best.pt")

Forgery = tuple[str, Callable[[Path, random.Random], None]]


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


# Forgeries


def chosen() -> Iterator[tuple[str, str, Callable[[Path, random.Random], None]]]:
    """Those that draw lots, over and over, and between them every other kind for every file."""
    others = [(name, *forgery) for forgery in ONCE for name in NAMES]
    random.Random(0).shuffle(others)
    for name, forgery in cycle(LOTS):
        yield name, *forgery
        if others:
            yield others.pop()


def written(data: bytes) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        path.write_bytes(data)

    return forge


def replaced(make: Callable[[Path], object]) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        path.unlink()
        make(path)

    return forge


def pickled(value: object) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        torch.save(value, path)

    return forge


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/attack-run-folders-ran-code",)


ONCE: list[Forgery] = [
    ("empty", written(b"")),
    ("null", written(b"null")),
    ("a list", written(b"[1, 2]")),
    ("text", written(b"\xff\xfe no file of ours\n")),
    ("deep", written(b'{"a":' * 50_000)),
    ("long number", written(b'{"epoch": ' + b"9" * 10_000 + b"}")),
    ("a directory", replaced(lambda path: path.mkdir())),
    ("a FIFO", replaced(lambda path: os.mkfifo(path))),
    ("a loop", replaced(lambda path: path.symlink_to(path.name))),
    ("an I/O error", replaced(lambda path: path.symlink_to("/proc/self/mem"))),
    ("/dev/zero", replaced(lambda path: path.symlink_to("/dev/zero"))),
    ("a terabyte", replaced(huge)),
    ("a hostile pickle", written(pickle.dumps(Hostile()))),
    ("a saved list", pickled([torch.zeros(2)])),
    ("a saved number", pickled(3)),
    ("an empty state", pickled({})),
    ("nested", pickled({"student": {"a": {"b": torch.zeros(1)}}, "average": None})),
]

VALUES: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x\n\x1b[0m", [],
    [[]], {}, {"a": {}}, "resnet50", "fp64", [0.0, 0.0, 0.0], ["a", "b", "c"],
]  # fmt: skip


def forge_json(path: Path, draw: random.Random) -> None:
    """One value anywhere in it is another, or gone."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    records = [json.loads(line) for line in lines]
    forge_value(records, draw)
    with contextlib.suppress(TypeError, ValueError):
        path.write_text("\n".join(map(json.dumps, records)) + "\n")


def forge_value(value: Any, draw: random.Random) -> None:
    """In place, at a random depth."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw.choice(list(keys))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.85:
            value = inner
            continue
        if draw.random() < 0.2:
            del value[key]
        else:
            value[key] = draw.choice(VALUES)
        return


TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(7, 3),
    lambda: torch.zeros(()),
    lambda: torch.zeros(0),
    lambda: torch.zeros(64, dtype=torch.complex64),
    lambda: torch.zeros(64, dtype=torch.int64),
    lambda: torch.zeros(1).expand(64),
    lambda: torch.zeros(64).to_sparse(),
    lambda: torch.zeros(64, device="meta"),
    lambda: torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.qint8),
    lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
]


def forge_state(path: Path, draw: random.Random) -> None:
    """A value or a tensor of a checkpoint is another, or gone."""
    state = torch.load(path, weights_only=True)
    kind = draw.random()
    if kind < 0.5:
        forge_value(state, draw)
    else:
        tensors = state
        inside = [name for name in ("student", "average") if state.get(name)]
        if inside:
            tensors = state[draw.choice(inside)]
        if kind > 0.9 and "optimizer" in state:
            tensors = state["optimizer"]["state"].setdefault(0, {"momentum_buffer": None})
        tensors[draw.choice(list(tensors))] = draw.choice(TENSORS)()
    try:
        torch.save(state, path)
    except Exception:  # not every tensor can be saved
        path.write_bytes(path.read_bytes()[: draw.randrange(1000)])


def flip_byte(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 4)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


LOTS: list[tuple[str, Forgery]] = [
    ("run.json", ("forged", forge_json)),
    ("metrics.jsonl", ("forged", forge_json)),
    ("last.pt", ("forged", forge_state)),
    ("best.pt", ("forged", forge_state)),
    ("run.json", ("a byte", flip_byte)),
    ("metrics.jsonl", ("a byte", flip_byte)),
    ("last.pt", ("a byte", flip_byte)),
    ("last.pt", ("cut", cut)),
    ("metrics.jsonl", ("cut", cut)),
]

if __name__ == "__main__":
    sys.exit(main())
