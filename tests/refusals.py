"""A small cache, its images and its teacher, for tests of what the commands refuse."""

import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished

CD = "s_resnet18.t_resnet34.cd.ce"  # needs channels only
KD = "s_resnet18.t_resnet34.kd.ce"  # needs logits


@dataclass(frozen=True)
class World:
    images: Path  # 5 classes, 4 images each
    cache: Path  # of them: 3 blocks of 8, 2 views
    teacher: Path
    folder: Path  # other teachers

    def precompute(self, *flags: object, check: bool = False) -> Finished:
        """The command that made the cache, other flags after it; the last of a name counts."""
        return run_precompute(
            *("--images", self.images, "--weights", self.teacher, *TEACHER),
            *("--views", 2, "--size", 32, "--block", 8, "--batch-size", 7, "--cache", self.cache),
            *flags,
            check=check,
        )

    def train(self, out: Path, *flags: object, check: bool = False) -> Finished:
        return run_train(
            *(*STUDENT, "--cache", self.cache, "--images", self.images, "--recipe", CD),
            *("--epochs", 1),
            *("--batch-size", 10, "--lr", 0.01, "--out", out, *flags),
            check=check,
        )

    def copied(self, folder: Path) -> "World":
        """With images and a cache that may be damaged."""
        shutil.copytree(self.images, folder / "images")
        shutil.copytree(self.cache, folder / "cache")
        return World(folder / "images", folder / "cache", self.teacher, self.folder)


@functools.cache
def make_world(base: Path) -> World:
    """One a process, which all files share: it is only read."""
    folder = Path(tempfile.mkdtemp(prefix="world", dir=base))
    write_image_folder(folder / "images", classes=5, train=4, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 5)
    write_teacher(folder / "other.pt", "cifar_resnet20", 5, seed=1)
    write_teacher(folder / "three.pt", "cifar_resnet20", 3)
    world = World(folder / "images", folder / "cache", folder / "teacher.pt", folder)
    world.precompute(check=True)
    return world
