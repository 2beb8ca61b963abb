"""A small cache with its images and teacher, and verify.py over it, for its tests."""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shared.images.source import ImageSource, open_source
from tests.helpers import run, run_precompute, write_image_folder, write_teacher
from tests.processes import Finished

CLASSES = 5


@dataclass(frozen=True)
class World:
    folder: Path
    source: ImageSource  # 20 images
    teacher: Path
    cache: Path  # zarr, half: 3 blocks of 8, 2 views

    def precompute(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        return run_precompute(
            *(
                "--images",
                self.source.spec,
                "--weights",
                self.teacher,
                "--teacher",
                "cifar_resnet20",
            ),
            *("--size", 32, "--block", 8, "--batch-size", 7, "--views", 2, "--cache", cache),
            *flags,
            check=check,
        )


@functools.cache
def make_world(base: Path) -> World:
    """One a process, which all files share: it is only read."""
    folder = Path(tempfile.mkdtemp(prefix="world", dir=base))
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    source = open_source(str(folder / "images"), "train")
    world = World(folder, source, folder / "teacher.pt", folder / "cache")
    world.precompute(world.cache)
    return world


def verify(cache: Path, *flags: object) -> Finished:
    return run("precompute/verify.py", "--cache", cache, *flags, check=False)


def require_failed(done: Finished, *parts: str) -> None:
    """Exit code 1, FAILED lines only, and each part in one of them."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("FAILED: ") for line in lines), done.stderr
    for part in parts:
        assert any(part in line for line in lines), f"{part!r} is not in: {done.stderr}"
    assert done.stdout.splitlines()[-1].endswith(": FAILED")
