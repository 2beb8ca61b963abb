"""Stopped inside an epoch, by whatever, and started again: nothing is lost and nothing differs."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import Started, finish, start_world, wait_until
from tests.runs import load, metrics, require_same_run

IMAGES = 24
CASES = {  # store, flags, processes
    "zarr": ("zarr", ("--workers", 1), 1),
    "zarr averaged": ("zarr", ("--ema", 0.8, "--accumulate", 2), 1),
    "zarr two": ("zarr", (), 2),
    "shards": ("webdataset", ("--workers", 2), 1),
    "shards two": ("webdataset", (), 2),
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    write_image_folder(folder / "images", classes=3, train=IMAGES // 3, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
            *(*TEACHER, "--size", 32, "--block", 6, "--format", store),
            *("--cache", folder / store),
        )
    return folder


def launch(caches: Path, case: str, out: Path, *more: object, halts: int = 0) -> list[Started]:
    """Batches of 4 a process: six steps an epoch, or three, and checkpoints between them.

    `halts`: until a signal comes, at so many checkpoints (tests/halting.py); it has halted.
    """
    store, flags, processes = CASES[case]
    common = (
        *(*STUDENT, "--cache", caches / store, "--epochs", 2, "--batch-size", 4 * processes),
        *("--lr", 0.02),
    )
    every = ("--checkpoint-every", 2, "--log-every", 1)
    command = ("train/run.py", *common, *every, *flags, "--out", out, *more)
    if not halts:
        return start_world(processes, *command)  # type: ignore[arg-type]
    note = out.with_name(f"{out.name} halted at {steps_done(out)}")
    started = start_world(processes, "tests/halting.py", "*/last.pt", halts, note, *command)
    wait_until(lambda: note.exists() or not all(process.alive for process in started))
    return started


def interrupt(
    processes: list[Started], number: int, when: Callable[[], bool] = lambda: True
) -> list[int]:
    """Exit codes of processes that all got the signal as soon as `when` is true."""
    while all(process.alive for process in processes) and not when():
        time.sleep(0.005)
    for process in processes:
        process.signal(number)
    finished = [process.wait() for process in processes]
    if number != signal.SIGKILL:  # which workers notice, and tell
        assert not any("Error" in done.stderr for done in finished), finished
    return [done.returncode for done in finished]


def steps_done(out: Path) -> int:
    """Of the whole run, by last.pt; what is in it is whole at any moment."""
    if not (out / "last.pt").exists():
        return 0
    state = torch.load(out / "last.pt", mmap=True, weights_only=True)  # not its 100 MB of weights
    return int(100 * state["epoch"] + state["step"])


@pytest.fixture(scope="module")
def whole(caches: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of this case that was never stopped."""
    made: dict[str, Path] = {}

    def of(case: str) -> Path:
        if case not in made:
            made[case] = tmp_path_factory.mktemp("whole") / case.replace(" ", "-")
            finish(launch(caches, case, made[case]))
        return made[case]

    return of


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow) if c.endswith(" two") else c for c in CASES],
)
def test_a_stopped_run_saves_first_and_goes_on(
    caches: Path, whole: Callable[[str], Path], tmp_path: Path, case: str
) -> None:
    out = tmp_path / "run"
    first = interrupt(launch(caches, case, out, halts=1), signal.SIGTERM)
    assert set(first) == {128 + signal.SIGTERM}
    there = steps_done(out)
    assert there % 100, "it was not stopped inside an epoch"
    second = interrupt(launch(caches, case, out, halts=1), signal.SIGINT)
    assert set(second) == {128 + signal.SIGINT}
    finish(launch(caches, case, out))
    require_same_run(out, whole(case))


@pytest.mark.parametrize(
    ("case", "kills"),
    [
        ("zarr", 4),
        pytest.param("zarr", 20, marks=pytest.mark.slow),
        pytest.param("zarr two", 20, marks=pytest.mark.slow),
        pytest.param("shards", 20, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_steps(
    caches: Path, whole: Callable[[str], Path], tmp_path: Path, case: str, kills: int
) -> None:
    """Each time within a step or two of where it stood, so that a run takes that many."""
    out, draw, hits = tmp_path / "run", random.Random(f"{case} {kills}"), 0
    while hits < kills:
        there = steps_done(out)
        pause = draw.uniform(0, 0.1)

        def gone_on(out: Path = out, there: int = there, pause: float = pause) -> bool:
            if steps_done(out) == there and draw.random() < 0.995:
                return False
            time.sleep(pause)
            return True

        codes = interrupt(launch(caches, case, out), signal.SIGKILL, gone_on)
        if set(codes) == {0}:  # it came to its end: another run
            require_same_run(out, whole(case))
            out = tmp_path / f"run{hits}"
            continue
        hits += 1
    finish(launch(caches, case, out))
    require_same_run(out, whole(case))


def test_another_number_of_processes_ends_the_epoch(caches: Path, tmp_path: Path) -> None:
    """Every sample once: a top-1 is a multiple of 1 in 24."""
    common = ("--batch-size", 4, "--out", tmp_path)  # both times: six steps an epoch
    codes = interrupt(launch(caches, "zarr two", *(tmp_path, *common), halts=1), signal.SIGTERM)
    assert set(codes) == {128 + signal.SIGTERM} and steps_done(tmp_path) % 100
    finish(launch(caches, "zarr", *(tmp_path, *common)))
    train = [record for record in metrics(tmp_path) if record["split"] == "train"]
    assert [record["epoch"] for record in train] == [0, 1]
    for record in train:
        hits = record["top1"] * IMAGES / 100
        assert hits == pytest.approx(round(hits))
    assert load(tmp_path / "last.pt")["epoch"] == 2


def test_view_shards_end_an_epoch_with_the_same_processes(caches: Path, tmp_path: Path) -> None:
    interrupt(launch(caches, "shards", tmp_path, halts=1), signal.SIGTERM)
    before = (tmp_path / "last.pt").read_bytes()
    (process,) = launch(caches, "shards", tmp_path, "--workers", 0)
    require_refused(
        process.wait(),
        "of view shards was begun with 1 processes with 2 workers, and this run has 1 processes "
        "with 0 workers: ",
    )
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_dry_run_shows_the_recipe_and_writes_nothing(caches: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_train(
        *STUDENT, "--cache", caches / "zarr", "--batch-size", 4, "--out", out, "--dry-run"
    )
    assert not out.exists() and done.stderr == ""
    lines = done.stdout.splitlines()
    assert "cifar_resnet20, 100 epochs, batch 4 over 1 x 1 parts, fp32 on cpu" in lines[0]
    assert "| 0 to 28 | 0.1 | 0 | 0 | 6 |" in lines and "| 29 | 0.1 | 0 | 0 | 5.4 |" in lines
    assert "| 90 to 99 | 0.0001 | 1 | 1 | 4.374 |" in lines
    assert "zarr, codec half, 2 views of 24 images at 32 px" in lines[-5]
    assert lines[-4].startswith("tails    the farthest 1 % of images hold ")
    assert lines[-3].startswith("machine  ")
    assert lines[-2].startswith("6 steps an epoch, 600 in all, ")
    assert lines[-1] == "dry run: nothing was written"
