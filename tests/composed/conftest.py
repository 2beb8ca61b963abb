"""A cache of 30 images with the maps and the last layer of a cifar_resnet20."""

from pathlib import Path

import pytest

import precompute.run
from tests.composed.recipes import CLASSES, call
from tests.helpers import write_image_folder, write_teacher


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composed")
    write_image_folder(folder / "images", CLASSES, train=6, val=5)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    call(
        precompute.run.main,
        *("--split", "train", "--images", folder / "images", "--views", 1, "--size", 32),
        *("--teacher", "cifar_resnet20", "--weights", folder / "teacher.pt", "--workers", 0),
        *("--targets", "logits,channels,map", "--codec", "compact", "--cache", folder / "cache"),
        *("--device", "cpu"),
    )
    return folder / "cache"
