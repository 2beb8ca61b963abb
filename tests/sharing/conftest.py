"""Files in memory, and what processes that fill one cache are started with."""

from pathlib import Path

import pytest

from tests.helpers import TEACHER, run_precompute, snapshot, write_image_folder, write_teacher


class MemoryFiles:
    """What claims need of the storage, and a count of requests but for those of counters."""

    root = "memory"

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}
        self.requests = 0

    def read(self, path: str, most: int = 0) -> bytes:
        self.requests += 1
        if path not in self.there:
            raise FileNotFoundError(path)
        return self.there[path]

    def exists(self, path: str) -> bool:
        self.requests += 1
        return path in self.there

    def names(self, folder: str) -> list[str]:
        self.requests += 1
        inside = "" if folder == "." else f"{folder}/"
        found = (path.removeprefix(inside) for path in self.there if path.startswith(inside))
        return sorted({path.partition("/")[0] for path in found})

    def write(self, path: str, data: bytes) -> None:
        self.requests += not path.startswith(".alive")
        self.there[path] = data

    def write_new(self, path: str, data: bytes) -> bool:
        self.requests += 1
        return self.there.setdefault(path, data) is data

    def remove(self, path: str) -> None:
        self.requests += 1
        self.there.pop(path, None)


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Of precompute/run.py: 24 images in blocks of 4, 2 views."""
    folder = tmp_path_factory.mktemp("inputs")
    write_image_folder(folder / "images", classes=3, train=8, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    flags = ("--images", folder / "images", "--weights", folder / "teacher.pt", *TEACHER)
    return (*flags, "--size", 32, "--block", 4, "--batch-size", 4, "--views", 2, "--workers", 0)


@pytest.fixture(scope="module")
def expected(
    inputs: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes | None]:
    """The cache that one process makes."""
    folder: Path = tmp_path_factory.mktemp("alone")
    run_precompute(*inputs, "--cache", folder)
    return snapshot(folder)
