"""What the tests of precompute/verify.py share."""

import shutil
from pathlib import Path

import pytest

from shared.store.opening import Cache, open_cache
from tests.verified import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.fixture
def spare(world: World, tmp_path: Path) -> Cache:
    shutil.copytree(world.cache, tmp_path / "cache")
    return open_cache(tmp_path / "cache", "train")
