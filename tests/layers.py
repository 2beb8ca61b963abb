"""Caches with many kinds of targets, one of them from outside (tests/outside.py)."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.targets.kinds import KINDS
from tests.helpers import Finished, run, write_image_folder, write_teacher
from tests.outside import ENERGY

EXTRA = "attention,map3,grid4,energy"
LAYERS = ("attention1", "attention2", "attention3", "energy", "grid4", "map3")
VIEWS, BLOCKS = 2, 3  # 24 images in blocks of 8
every_format = pytest.mark.parametrize("store", ["zarr", "webdataset"])


@dataclass(frozen=True)
class World:
    folder: Path
    flags: tuple[object, ...]

    def make(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        command = ("tests/outside.py", "precompute/run.py", "--split", "train", *self.flags)
        return run(*command, "--cache", cache, *flags, check=check)

    def verify(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        command = ("tests/outside.py", "precompute/verify.py", "--cache", cache, "--samples", 16)
        return run(*command, *flags, check=check)

    def whole(self, store: str) -> Path:
        """A copy of a cache with all kinds, codec exact."""
        copy = self.folder / "copies" / f"{store}{len(os.listdir(self.folder / 'copies'))}"
        shutil.copytree(self.folder / store, copy)
        return copy


@pytest.fixture(scope="session")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Made once for all files: with all kinds, a zarr cache and view shards."""
    folder = tmp_path_factory.mktemp("layers")
    (folder / "copies").mkdir()
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    flags = ("--images", folder / "images", "--weights", folder / "teacher.pt")
    flags += ("--teacher", "cifar_resnet20", "--size", 32, "--block", 8, "--views", VIEWS)
    made = World(folder, (*flags, "--batch-size", 8))
    for store in ("zarr", "webdataset"):
        all_kinds = f"logits,channels,{EXTRA}"
        flags = ("--codec", "exact", "--format", store, "--targets", all_kinds)
        made.make(folder / store, *flags)
    yield made
    shutil.rmtree(folder)


@pytest.fixture
def world(layered: World) -> World:
    return layered


@pytest.fixture(autouse=True)
def known_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, too."""
    monkeypatch.setitem(KINDS, "energy", ENERGY)
