"""A process of a run that is killed: the others end with one line, wherever they are."""

import signal
from pathlib import Path

import pytest

from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run_precompute,
    write_image_folder,
    write_teacher,
)
from tests.processes import start_world, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_between_steps(tmp_path: Path, killed: int) -> None:
    write_image_folder(tmp_path / "images", classes=4, train=11, val=3)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 4)
    run_precompute(
        *("--images", tmp_path / "images", "--weights", tmp_path / "teacher.pt", "--views", 2),
        *(*TEACHER, "--size", 32, "--block", 4, "--cache", tmp_path / "cache"),
    )
    processes = start_world(
        *(2, "train/run.py", *STUDENT, "--cache", tmp_path / "cache", "--epochs", 1000),
        *("--batch-size", 8, "--lr", 0.01, "--out", tmp_path / "run"),
    )
    saved = tmp_path / "run" / "last.pt"
    wait_until(lambda: saved.exists() or not all(p.alive for p in processes), 120)
    processes[killed].signal(signal.SIGKILL)
    processes[killed].wait(60)
    require_refused(processes[1 - killed].wait(60), "of this", "has ended, and", "start the same")
