"""Several processes are one: same samples, same losses, same weights; the command itself, too."""

import json
import signal
from pathlib import Path

import pytest
import torch

from shared.distributed import World, read_world
from shared.errors import InputError
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run,
    run_precompute,
    write_image_folder,
    write_teacher,
)
from tests.processes import Started, finish, start_world, wait_until
from tests.runs import load, require_same_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=4, train=11, val=3)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    for store in ("zarr", "webdataset"):
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
            *(*TEACHER, "--size", 32, "--block", 4, "--format", store),
            *("--cache", folder / store),
        )
    return folder


@pytest.mark.parametrize("teacher", ["cached", "live"])
def test_two_processes_take_the_steps_of_one(made: Path, tmp_path: Path, teacher: str) -> None:
    """Global batches of 9: parts of 5 and 4. GuidedKD divides by the guided of both parts."""
    flags = (
        # A small step: with a large one rounding grows until some ReLU flips.
        *(*STUDENT, "--cache", made / "zarr", "--epochs", 2, "--batch-size", 9, "--lr", 0.0001),
        *("--teacher", teacher, "--recipe", "s_resnet18.t_resnet34.cd.ce.kdv2"),
    )
    run("tests/frozen_steps.py", tmp_path / "one.pt", *flags)
    finish(start_world(2, "tests/frozen_steps.py", tmp_path / "two.pt", *flags))
    one = torch.load(tmp_path / "one.pt", weights_only=True)
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert one["samples"].tolist() == two["samples"].tolist() == [9, 9, 9, 9, 8] * 2
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-6, atol=1e-6)
    assert one["losses"][:, 1].max() > 0, "no sample was ever guided"
    for name, value in one["parameters"].items():
        torch.testing.assert_close(two["parameters"][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_the_command_with_two_processes(made: Path, tmp_path: Path, store: str) -> None:
    flags = (*STUDENT, "--cache", made / store, "--epochs", 2, "--batch-size", 8, "--lr", 0.01)
    first, second = finish(start_world(2, "train/run.py", *flags, "--out", tmp_path))
    assert "epoch 1: loss" in first.stdout and second.stdout == ""
    assert first.stderr == second.stderr == "", "a process warns"
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["split"]) for r in records] == [
        (0, "train"), (0, "val"), (1, "train"), (1, "val")
    ]  # fmt: skip
    for record in records:  # counts over all samples: multiples of 1 in 44 and 1 in 12
        samples = 44 if record["split"] == "train" else 12
        assert record["top1"] * samples / 100 == pytest.approx(
            round(record["top1"] * samples / 100)
        )
    assert (tmp_path / "done").exists()


def test_gradients_lie_as_the_buckets_do() -> None:
    """Whatever strides a backend writes down for a 1x1 kernel; see tests/strides.py."""
    for done in finish(start_world(2, "tests/strides.py")):
        assert done.stdout == "the same in all processes\n" and done.stderr == ""


def launch_apart(
    made: Path, outs: list[Path], *more: object, halting: tuple[object, ...] = ()
) -> list[Started]:
    """Two processes with a run folder each, as on machines that share no disk."""
    flags = (
        *(*STUDENT, "--cache", made / "zarr", "--epochs", 2, "--batch-size", 8, "--lr", 0.01),
        *more,
    )
    first, *rest = (*(("tests/halting.py", *halting) if halting else ()), "train/run.py", *flags)
    return start_world(2, str(first), *rest, each=[("--out", out) for out in outs])


def test_run_folders_that_are_not_shared(made: Path, tmp_path: Path) -> None:
    """The first process alone sees last.pt, and tells the others."""
    finish(launch_apart(made, [tmp_path / "whole"] * 2))
    outs = [tmp_path / "first", tmp_path / "second"]
    note = tmp_path / "halted"
    processes = launch_apart(
        made, outs, "--checkpoint-every", 2, "--log-every", 1, halting=("*/last.pt", 1, note)
    )
    wait_until(lambda: note.exists() or not all(p.alive for p in processes))
    for process in processes:
        process.signal(signal.SIGTERM)
    assert {p.wait().returncode for p in processes} == {128 + signal.SIGTERM}
    there = load(outs[0] / "last.pt")
    assert there["epoch"] < 2 and there["step"] + there["epoch"] > 0
    assert not (outs[1] / "last.pt").exists()
    first, _ = finish(launch_apart(made, outs, "--checkpoint-every", 2))
    assert f"going on at epoch {there['epoch']} of 2, step {there['step']}" in first.stdout
    require_same_run(outs[0], tmp_path / "whole")


def test_what_only_the_first_process_can_see_ends_all_of_them(made: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    outs[0].mkdir()
    (outs[0] / "last.pt").write_text("no checkpoint")
    for process in launch_apart(made, outs):
        require_refused(process.wait(60), f"{outs[0]}/last.pt is not a checkpoint of this code")


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
@pytest.mark.parametrize(
    ("accumulate", "named"),
    [
        (4, "--accumulate 4 is too much: in epoch 0 the smallest part of a batch that a process"),
        (3, "batches are too small for BatchNorm: in epoch 0 a piece of one has a single sample"),
    ],
)
def test_parts_that_cannot_be_cut_end_all_processes(
    made: Path, tmp_path: Path, store: str, accumulate: int, named: str
) -> None:
    """Batches of 7 and 8 are parts of 3 and 4: one process would go on to a fourth piece alone."""
    flags = (  # a ResNet-18 has a single pixel in its last stage here
        *("--cache", made / store, "--student", "resnet18", "--recipe", "resnet18.ce"),
        *("--epochs", 2, "--batch-size", 8, "--out", tmp_path / "run"),
    )
    finished = [
        process.wait(60)
        for process in start_world(2, "train/run.py", *flags, "--accumulate", accumulate)
    ]
    for done in finished:
        require_refused(done, named)
    assert finished[0].stderr == finished[1].stderr and not (tmp_path / "run").exists()


def test_ranks_come_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert read_world() == World(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert read_world() == World(3, 4, 1)
    for rank in ("4", "-1", "one"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(InputError, match=r"must be 0 <= rank < size: got .* and 4"):
            read_world()
