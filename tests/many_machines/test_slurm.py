"""The SLURM scripts, on two machines of two processes each, which are all this machine."""

import json
from pathlib import Path

import pytest

from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    snapshot,
    write_image_folder,
    write_teacher,
)
from tests.many_machines.cluster import make_cluster, submit

pytestmark = pytest.mark.slow  # six processes import torch


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_image_folder(folder / "images", classes=4, train=12, val=3)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    return folder


def of_cache(images: Path) -> tuple[object, ...]:
    return (
        *("--images", images / "images", "--weights", images / "teacher.pt", "--views", 3),
        *(*TEACHER, "--size", 32, "--block", 4),
    )


@pytest.mark.parametrize(("store", "shared"), [("zarr", False), ("webdataset", True)])
def test_train(images: Path, tmp_path: Path, store: str, shared: bool) -> None:
    """Two machines of two processes each; submitted again when it is done."""
    cache = tmp_path / "cache"
    run_precompute(*of_cache(images), "--format", store, "--cache", cache)
    nodes = make_cluster(tmp_path, shared)
    flags = (
        *(*STUDENT, "--cache", cache, "--batch-size", 12, "--lr", 0.0001, "--device", "cpu"),
        *("--workers", 0, "--epochs", 2, "--seed", 3),
    )
    done = submit(nodes, "train.sbatch", *flags, "--out", "runs/four")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1: loss") == 1, "one process prints"
    first, second = nodes / "0/runs/four", nodes / "1/runs/four"
    assert (first / "done").exists() and second.exists() == shared
    assert json.loads((first / "run.json").read_text())["processes"] == 4
    before = snapshot(first)
    again = submit(nodes, "train.sbatch", *flags, "--out", "runs/four")
    assert again.returncode == 0 and "epoch 1: loss" not in again.stdout
    assert snapshot(first) == before


def test_precompute(images: Path, tmp_path: Path) -> None:
    """An array of processes, two at a time, that know nothing of each other."""
    nodes = make_cluster(tmp_path, shared=True)
    flags = ("--split", "train", *of_cache(images), "--device", "cpu", "--cache")
    done = submit(nodes, "precompute.sbatch", *flags, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    again = submit(nodes, "precompute.sbatch", *flags, tmp_path / "cache")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done: 0 views") == 2, "both find it complete"
    run_precompute(*of_cache(images), "--cache", tmp_path / "alone")
    one, other = snapshot(tmp_path / "cache"), snapshot(tmp_path / "alone")
    assert one == other, "the bytes do not depend on who made which block"
