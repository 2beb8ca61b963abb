"""What is no regular file, or no file of a run, in a run folder: one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs import refusal
from train.folder import RunFolder
from train.run_files import read_metrics, read_run


def put(path: Path, kind: str) -> None:
    """Something odd under that name."""
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")  # a regular file whose bytes are an I/O error
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_bytes({"empty": b"", "binary": bytes(range(256)), "deep": b"[" * 10**5}[kind])


KINDS = ("directory", "fifo", "device", "loop", "unreadable", "empty", "binary", "deep")
READERS: dict[str, Callable[[Path], object]] = {
    "run.json": read_run,
    "metrics.jsonl": read_metrics,
    "last.pt": lambda folder: RunFolder(folder).load_checkpoint(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_odd_files(tmp_path: Path, name: str, kind: str) -> None:
    put(tmp_path / name, kind)
    if (name, kind) == ("metrics.jsonl", "empty"):
        assert read_metrics(tmp_path) == []
    else:
        assert str(tmp_path) in refusal(READERS[name], tmp_path)


def test_folders_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    for name, found in (
        ("nowhere", "does not exist"),
        ("file", "is not a folder"),
        ("empty", "is empty"),
        ("other", "has no run.json"),
    ):
        text = refusal(read_run, tmp_path / name)
        assert text.startswith(f"{tmp_path / name} is not a run folder: it {found}; give a folder")
