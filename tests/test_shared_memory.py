"""How many workers a process has by default, and room for their batches in shared memory."""

import os
import sys
from pathlib import Path

import pytest
import torch

from shared import device
from shared.device import default_workers
from shared.errors import InputError
from shared.images.source import open_source
from shared.loaders import shared_memory as shm
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from tests.loading import indices

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def test_default_workers_are_this_processs_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for cores, processes, workers in (
        (64, None, 16), (64, "8", 8), (64, "2", 16), (6, None, 6), (3, "8", 1), (1, "1", 1),
    ):  # fmt: skip
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert default_workers(CUDA) == workers
        assert default_workers(CPU) == 0
    for wrong in ("0", "x", "-1"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", wrong)
        with pytest.raises(InputError, match="LOCAL_WORLD_SIZE must be 1 or more"):
            device.processes_here()


def test_room_in_shared_memory() -> None:
    sample = 3 * 224**2
    assert shm.lacking(0, 256, sample, 8, 0, 0) is None
    needed = (2 * 16 + 1) * 256 * sample
    assert shm.lacking(16, 256, sample, 1, needed, needed) is None
    line = shm.lacking(16, 256, sample, 1, 64 * 2**20, 64 * 2**20)
    assert line is not None and shm.lacking(16, 256, sample, 1, needed, needed - 1) is not None
    assert "/dev/shm has 67.1 MB free, and 16 workers with batches of 256 need 1.27 GB" in line
    assert "--shm-size" in line and "fewer --workers" in line and "--batch-size" in line
    assert shm.lacking(16, 256, sample, 8, 8 * needed, 8 * needed) is None
    line = str(shm.lacking(16, 256, sample, 8, 8 * needed - 1, needed))
    assert "/dev/shm has 10.2 GB, and 8 processes with 16 workers each" in line
    assert "need 10.2 GB" in line


def test_what_the_other_processes_have_in_flight_does_not_count_twice() -> None:
    """The last of eight looks when seven have filled their part, at any epoch of a long run."""
    sample = 3 * 224**2
    needed = (2 * 16 + 1) * 256 * sample
    for others in range(8):
        assert shm.lacking(16, 256, sample, 8, 8 * needed, (8 - others) * needed) is None


def test_the_loaders_ask_for_room(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = open_source(str(image_folder), "train")
    request = Request(0, indices(0, 1), Draw("center", 0, 0))
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    )
    with pytest.raises(InputError, match=r"shared memory is too small: /dev/shm has 1 B free"):
        PixelLoader((source,), 16, 1, pin_memory=False).batches([request])
    list(PixelLoader((source,), 16, 0, pin_memory=False).batches([request]))
    monkeypatch.setattr(shm, "SHM", str(tmp_path / "none"))
    monkeypatch.undo()
    list(PixelLoader((source,), 16, 1, pin_memory=False).batches([request]))
    assert sys.platform != "linux" or os.path.isdir("/dev/shm")
