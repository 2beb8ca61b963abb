"""Short runs to be stopped and started again, from a cache of 12 images."""

from pathlib import Path

import pytest

from tests.helpers import STUDENT, TEACHER, run_precompute, write_image_folder, write_teacher

CLASSES = 3
EPOCHS = 3
VIEWS = 2
PLAIN = ("--teacher", "none", "--recipe", "resnet18.ce")  # the cache's boxes, no targets
MODES: dict[str, tuple[object, ...]] = {"cached": (), "none": PLAIN}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("cache"))


def make_cache(folder: Path, block: int = 8) -> Path:
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt"),
        *(*TEACHER, "--cache", folder / "cache", "--views", VIEWS),
        *("--size", 32, "--block", block, "--batch-size", 7),
    )
    return folder / "cache"


def flags(cache: Path, out: Path, mode: str) -> tuple[object, ...]:
    """The default recipe has every kind of loss; 12 images in batches of 5 make sizes 4 and 4."""
    common = (
        *(*STUDENT, "--cache", cache, "--out", out, "--epochs", EPOCHS, "--batch-size", 5),
        *("--lr", 0.02),
    )
    return (*common, *MODES[mode])
