"""Caches of a teacher that used the statistics of fixed batches, made in this process for tests."""

import functools
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import precompute.run
from precompute import fixed_batches, job
from shared.errors import run_command
from tests.helpers import write_image_folder, write_teacher
from tests.processes import Finished

CLASSES = 4
BATCH = 32  # of most tests, where it is 256 in earnest
SAMPLES, BLOCK = 102, 64  # two batches, and one with the six that remain


@dataclass(frozen=True)
class World:
    folder: Path  # 320 images of train, 16 of val

    @property
    def source(self) -> Path:
        return self.folder / "images"

    @property
    def whole(self) -> Path:
        """Codec exact, 2 views."""
        return self.folder / "exact"

    def flags(self, cache: Path, *more: object) -> tuple[object, ...]:
        return (
            *("--images", self.source, "--weights", self.folder / "teacher.pt", "--size", 32),
            *("--teacher", "cifar_resnet20", "--format", "webdataset", "--workers", 0),
            *("--teacher-statistics", "batch", "--cache", cache, "--codec", "exact"),
            *("--policy", "pad-crop", "--views", 2, *more),
        )

    def precompute(self, cache: Path, *more: object, split: str = "train") -> Finished:
        """The command in this process, with batches of BATCH and blocks of BLOCK."""
        small = ("--limit", SAMPLES, "--block", BLOCK, "--batch-size", BATCH)
        flags = self.flags(cache, *(small if split == "train" else small[4:]), *more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job, "TEACHER_BATCH", BATCH)
            patch.setattr(fixed_batches, "TEACHER_BATCH", BATCH)
            return in_process(precompute.run, "--split", split, *flags)


def in_process(module: Any, *flags: object) -> Finished:
    out, error = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [module.__name__, *map(str, flags)])
        run_command(module.main)
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, out.getvalue(), error.getvalue())


def require_done(done: Finished) -> Finished:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done


@functools.cache
def make_world(base: Path) -> World:
    """One a process, which all files share: it is only read."""
    folder = Path(tempfile.mkdtemp(prefix="world", dir=base))
    write_image_folder(folder / "images", classes=CLASSES, train=80, val=4, side=36)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    world = World(folder)
    done = require_done(world.precompute(world.whole))
    assert "fp32 on cpu, statistics of batches of 32, 0 decoding processes" in done.stdout
    return world


def spoilt(world: World, folder: Path, keys: list[str]) -> Path:
    """The images, with some that do not decode."""
    images = folder / "images"
    for path in sorted((world.source / "train").rglob("*.jpg")):
        copy = images / path.relative_to(world.source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.hardlink_to(path)
    for key in keys:
        copy = images / "train" / key
        copy.unlink()
        copy.write_bytes(b"?" * 100)
    return images
