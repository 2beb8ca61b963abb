"""Runs with CRD: its memory is told, saved and restored, and the batch cannot be cut."""

import shutil
import signal
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
from tests.processes import finish, start_halting, start_world
from tests.runs import load, metrics, require_same_run

SMALL = ("crd.width=8", "crd.negatives=16", "lr=0.01")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=4, train=6, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
        *(*TEACHER, "--size", 32, "--block", 8, "--format", "zarr", "--codec", "exact"),
        *("--cache", folder / "cache"),
    )
    return folder / "cache"


def flags(cache: Path, out: Path, *more: object) -> tuple[object, ...]:
    return (
        *("--cache", cache, *STUDENT, "--recipe", "s_resnet18.t_resnet34.crd"),
        *("--epochs", 2, "--batch-size", 9, "--checkpoint-every", 2, "--out", out),
        *("--set", *SMALL, *more),
    )


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run_train(*flags(cache, out))
    return out


def test_last_pt_holds_the_memory_of_all_steps(whole: Path) -> None:
    kept = load(whole / "last.pt")["memory"]
    assert kept["steps"] == 2 * 3  # 24 images in batches of 8
    tensors = kept["tensors"]
    assert tensors["labels"].tolist() == [index // 6 for index in range(24)]
    for side in ("student", "teacher"):
        torch.testing.assert_close(tensors[side].norm(dim=1), torch.ones(24))
    assert tensors["log_sums"].all()


def test_stopped_and_started_again_it_has_the_same_bits(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    """Stopped in the middle of epoch 0, after the second of its three steps."""
    out = tmp_path / "run"
    process = start_halting("*/last.pt", 1, tmp_path / "note", "train/run.py", *flags(cache, out))
    process.signal(signal.SIGKILL)
    process.wait()
    there = load(out / "last.pt")
    assert (there["epoch"], there["step"], there["memory"]["steps"]) == (0, 2, 2)
    done = run_train(*flags(cache, out))
    assert "going on at epoch 0 of 2, step 2" in done.stdout
    require_same_run(out, whole)


def test_cached_and_live_are_the_same_run(cache: Path, whole: Path, tmp_path: Path) -> None:
    run_train(*flags(cache, tmp_path / "live"), "--teacher", "live")
    assert metrics(tmp_path / "live") == metrics(whole)
    mine, theirs = (load(run / "last.pt")["memory"] for run in (tmp_path / "live", whole))
    for name, values in theirs["tensors"].items():
        assert torch.equal(mine["tensors"][name], values), name


@pytest.mark.parametrize("broken", ["absent", "other width"])
def test_a_checkpoint_whose_memory_does_not_fit_is_refused(
    cache: Path, whole: Path, tmp_path: Path, broken: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "done").unlink()
    state = load(out / "last.pt")
    if broken == "absent":
        del state["memory"]
    else:
        state["memory"]["tensors"]["student"] = torch.zeros(24, 7)
    torch.save(state, out / "last.pt")
    was = "absent" if broken == "absent" else "(24, 7) float32"
    require_refused(
        run_train(*flags(cache, out), check=False),
        f"last.pt does not fit this run: memory student is {was} there and (24, 8) float32 here",
    )


def test_the_dry_run_tells_its_size(cache: Path, tmp_path: Path) -> None:
    done = run_train(*flags(cache, tmp_path / "run"), "--dry-run")
    assert "memory   2 x 8 numbers of each of 24 images: 1.74 kB on cpu, and in last.pt" in (
        done.stdout
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["crd", "rkd", "pkt", "srd"])
def test_a_batch_in_pieces_is_refused(cache: Path, tmp_path: Path, recipe: str) -> None:
    done = run_train(
        *("--cache", cache, *STUDENT, "--recipe", f"s_resnet18.t_resnet34.{recipe}"),
        *("--accumulate", 2, "--out", tmp_path / "run"),
        check=False,
    )
    require_refused(
        done,
        f"--accumulate 2 cannot be used with recipe s_resnet18.t_resnet34.{recipe}, whose term "
        f"{recipe} compares the samples of a batch with each other",
    )


@pytest.mark.slow
def test_two_processes_hold_one_memory(cache: Path, tmp_path: Path) -> None:
    """tests/losses/test_whole_step.py shows that they equal one; this is the command."""
    finish(start_world(2, "train/run.py", *flags(cache, tmp_path / "run")))
    kept = load(tmp_path / "run" / "last.pt")["memory"]
    assert kept["steps"] == 2 * 3
    assert kept["tensors"]["labels"].tolist() == [index // 6 for index in range(24)]
