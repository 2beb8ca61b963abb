"""Caches of a small source in both formats, one of mixed views, and one of the built-in digits."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from shared.cache import TeacherCache
from tests.helpers import TEACHER, run, run_precompute, write_image_folder, write_teacher

CLASSES, SAMPLES, VIEWS = 4, 36, 3  # and one image that does not decode
MIXED = ("--augment", "mixup=0.4,erasing=0.5")
Made = Callable[[str], Path]


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Format, with " mixed" or not -> the cache; codec exact. Only read, please."""
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", CLASSES, SAMPLES // CLASSES, 2)
    (folder / "images" / "train" / "class1" / "bad.jpg").write_bytes(b"no image")
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)

    @cache
    def cached(name: str) -> Path:
        store, _, mixed = name.partition(" ")
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt", *TEACHER),
            *("--size", 32, "--block", 8, "--views", VIEWS, "--codec", "exact", "--skip-bad", 0.1),
            *("--format", store, "--cache", folder / name, *(MIXED if mixed else ())),
        )
        return folder / name

    return cached


@pytest.fixture(params=["zarr", "webdataset"])
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="package")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 256 digits in the default format, of a teacher that nobody trained."""
    folder = tmp_path_factory.mktemp("digits")
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 10)
    run(
        "precompute/run.py",
        *("--split", "train", "--images", "digits", "--limit", 256, "--views", 2, *TEACHER),
        *("--weights", folder / "teacher.pt", "--cache", folder / "cache"),
    )
    return folder / "cache"


@pytest.fixture
def opened(made: Made, store: str) -> TeacherCache:
    return TeacherCache(made(store))
