"""A small source, its teacher, and caches of augmented and mixed views made by the command."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import (
    STUDENT,
    TEACHER,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished

CLASSES, SAMPLES = 5, 20
SIZE = 32
ALL = "jitter=0.4:0.4:0.4:0.1,randaugment=2x9,erasing=0.5,mixup=0.4,cutmix=1"
KD = "s_resnet18.t_resnet34.kd.ce"


@dataclass(frozen=True)
class Made:
    folder: Path
    images: Path
    cache: Callable[[str], Path]  # format -> a cache of ALL, codec exact, 3 blocks, 2 views

    def precompute(self, to: Path, *flags: object, check: bool = True) -> Finished:
        """The command that makes the caches; of a flag that is there twice, the last counts."""
        return run_precompute(
            *("--images", self.images, "--weights", self.folder / "teacher.pt", *TEACHER),
            *("--size", SIZE, "--block", 8, "--batch-size", 7, "--views", 2, "--codec", "exact"),
            *("--augment", ALL, "--cache", to, *flags),
            check=check,
        )

    def train(self, cache: Path, out: Path, *flags: object, check: bool = True) -> Finished:
        return run_train(
            *(*STUDENT, "--cache", cache, "--images", self.images, "--recipe", KD),
            *("--epochs", 3, "--batch-size", 8, "--lr", 0.02, "--out", out, *flags),
            check=check,
        )


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Only read, please."""
    folder = tmp_path_factory.mktemp("augment")
    write_image_folder(folder / "images", CLASSES, SAMPLES // CLASSES, 1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)

    @cache
    def cached(store: str) -> Path:
        found.precompute(folder / store, "--format", store)
        return folder / store

    found = Made(folder, folder / "images", cached)
    return found
