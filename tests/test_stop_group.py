"""A signal to a command and all that it started, at once: the command saves before it ends."""

import signal
from pathlib import Path

import pytest

from tests.helpers import STUDENT, TEACHER, write_image_folder, write_teacher
from tests.helpers import run as run_script
from tests.processes import start, wait_until
from tests.runs import load


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        run_script(
            *("precompute/run.py", "--split", "train", "--images", folder / "images"),
            *("--weights", folder / "teacher.pt", *TEACHER, "--views", 2),
            *("--size", 32, "--block", 6, "--format", store, "--cache", folder / store),
        )
    return folder


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_a_group_that_gets_sigterm_saves_first(made: Path, tmp_path: Path, store: str) -> None:
    """As systemd and Slurm send it: workers used to die first, and the checkpoint was lost."""
    flags = (*STUDENT, "--cache", made / store, "--epochs", 40, "--batch-size", 4, "--lr", 0.02)
    process = start("train/run.py", *flags, "--workers", 2, "--out", tmp_path)
    wait_until(lambda: (tmp_path / "last.pt").exists() or not process.alive)
    process.signal_group(signal.SIGTERM)
    process.signal_group(signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    lines = [*done.stderr.splitlines(), *done.stdout.splitlines()]
    assert sum("stopped " in line for line in lines) == 1 and "Traceback" not in done.stderr, lines
    process.require_none_left()
    saved = load(tmp_path / "last.pt")
    assert 0 <= saved["epoch"] < 40
