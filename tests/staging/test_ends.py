"""Processes that share memory and end too soon, or are asked to: no other waits for ever."""

import os
import signal
from pathlib import Path

import pytest

from tests.helpers import require_refused
from tests.processes import Started, start, start_world, wait_until
from tests.small_cache import make_cache, make_manifest

SCRIPT = "tests/staging/staged_batches.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    make_cache(folder, make_manifest(samples=61, block=8, views=3))
    return folder


def start_stalled(cache: Path, out: Path, stage: Path, size: int = 2) -> list[Started]:
    """They wait for the second piece."""
    processes = start_world(size, SCRIPT, cache, out, "--stall", 1, "--stage", stage)
    wait_until(lambda: (out / "stalled").exists() or not all(p.alive for p in processes), 120)
    assert (out / "stalled").exists(), [p.wait().stderr for p in processes]
    return processes


@pytest.mark.parametrize("killed", [0, 1], ids=["reader", "other"])
def test_a_process_is_killed(cache: Path, tmp_path: Path, killed: int) -> None:
    processes = start_stalled(cache, tmp_path, tmp_path)
    processes[killed].signal(signal.SIGKILL)
    processes[killed].wait(60)
    done = processes[1 - killed].wait(60)
    require_refused(done, f"process {killed} of this machine", "has ended", "start the same comm")
    assert ("reads the cache" in done.stderr) == (killed == 0)


def test_processes_that_wait_are_asked_to_stop(cache: Path, tmp_path: Path) -> None:
    processes = start_stalled(cache, tmp_path, tmp_path)
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        done = process.wait(60)
        assert done.returncode == 128 + signal.SIGTERM
        assert done.stderr.startswith("stopped by SIGTERM: ") and done.stderr.count("\n") == 1


def test_an_error_of_the_reader_is_told_by_all(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "cache", make_manifest(samples=61, block=8, views=3))
    path = next((made.files.root / "targets.zarr" / "logits" / "c" / "1").iterdir())
    path = next(path.rglob("0"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for process in start_world(2, SCRIPT, tmp_path / "cache", tmp_path):
        require_refused(process.wait(60), f"{path} is damaged")


def test_no_file_is_left(cache: Path, tmp_path: Path) -> None:
    """It has no name while the processes use it, and what a killed run left goes at the next."""
    stage = tmp_path / "stage"
    stage.mkdir()
    left = stage / ".tmp~host~0123~targets"
    left.write_bytes(b"of a run that was killed")
    processes = start_stalled(cache, tmp_path, stage)
    assert list(stage.iterdir()) == []
    for process in processes:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert f"{stage}/" in maps, "the folder is not used"
    for process in processes:
        process.signal(signal.SIGKILL)
        process.wait()


def test_a_folder_without_room(cache: Path, tmp_path: Path) -> None:
    """Every process of the machine says the same."""
    for process in start_world(2, "tests/staging/small_disk.py", cache, tmp_path):
        require_refused(process.wait(60), f"--stage {tmp_path} is too small: it has 1 kB free")
    done = start(SCRIPT, cache, tmp_path, "--stage", tmp_path / "nowhere").wait(60)
    require_refused(done, f"{tmp_path}/nowhere is not a folder of this machine")
    assert os.listdir(tmp_path) == []
