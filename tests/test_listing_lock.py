"""Of the processes that need a listing at the same time, one makes it and the others wait."""

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from shared.images import kept_listing, listing_lock
from shared.images import source as images
from shared.images.source import open_source
from tests.image_trees import write
from tests.processes import Started, finish, start, wait_until

SPLIT = {f"train/{name}/{i}.jpg": b"x" * (i + 1) for name in ("ant", "bee") for i in range(5)}
IMAGES = 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", SPLIT)


def scans(root: Path) -> int:
    path = root.parent / "scans"
    return path.stat().st_size if path.exists() else 0


def waiting(process: Started) -> bool:
    """Whether it has the lock file open without holding the lock: it tries again and again."""
    files = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(str(path.readlink()).endswith(".lock") for path in files if path.is_symlink())


def launch(root: Path, count: int, fewest: int = IMAGES) -> list[Started]:
    """One process that lists the source, and `count` - 1 that have come to the lock meanwhile."""
    arguments = ("tests/listing.py", root, root.parent, fewest)
    first = start(*arguments, "go")
    wait_until(lambda: scans(root) == 1)
    others = [start(*arguments, "others-go") for _ in range(count - 1)]
    wait_until(lambda: all(map(waiting, others)))
    return [first, *others]


def test_one_process_lists_and_the_others_read_what_it_keeps(root: Path) -> None:
    processes = launch(root, 3)
    (root.parent / "go").touch()
    assert len({done.stdout for done in finish(processes)}) == 1
    assert scans(root) == 1
    (kept,) = (root.parent / "data/.listings").iterdir()
    assert kept.suffix == ".listing", "a lock is left"


def test_another_one_takes_over_where_the_first_dies(root: Path) -> None:
    first, *others = launch(root, 3)
    first.signal(signal.SIGKILL)
    first.wait()
    wait_until(lambda: scans(root) == 2)
    (root.parent / "others-go").touch()
    finish(others)
    assert scans(root) == 2


def test_listings_that_are_not_kept_are_made_at_the_same_time(root: Path) -> None:
    """Each process lists the few images itself, and none waits for more than the first."""
    processes = launch(root, 3, IMAGES + 1)
    (root.parent / "go").touch()
    wait_until(lambda: scans(root) == 3)
    (root.parent / "others-go").touch()
    finish(processes)


def test_a_source_that_cannot_be_listed_is_told_by_each(root: Path) -> None:
    processes = launch(root, 2)
    for path in (root / "train" / "ant").iterdir():
        path.unlink()
    for name in ("go", "others-go"):
        (root.parent / name).touch()
    for process in processes:
        done = process.wait()
        assert done.returncode == 2 and "ant" in done.stderr, done.stderr


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(images, "DATA", root.parent / "data")
    monkeypatch.setattr(kept_listing, "FEWEST", 1)
    return root


@pytest.mark.parametrize("kind", ["no locks", "folder", "fifo", "link"])
def test_where_there_can_be_no_lock_it_goes_on_without(
    here: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    open_source(str(here), "train")
    (kept,) = (here.parent / "data/.listings").iterdir()
    lock = kept.with_suffix(".lock")
    kept.unlink()
    if kind == "no locks":

        def refused(file: int, how: int) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", refused)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.symlink_to("/dev/zero")
    assert len(open_source(str(here), "train")) == IMAGES and kept.exists()


def test_a_process_that_waits_for_long_says_for_what(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that has the lock may be stopped."""
    monkeypatch.setattr(listing_lock, "PATIENCE", 0.0)
    path = here.parent / "x.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        pauses = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", pause)
        with listing_lock.ListingLock(path, "the folder x") as lock:
            assert lock.waited and len(pauses) == 3 and not lock.others_list
            fcntl.flock(other, fcntl.LOCK_UN)
            lock._tell()  # another process that waits as well
    assert capsys.readouterr().err == (
        "NOTE: waiting for another process of this machine that lists the folder x\n"
    )
