"""What the tests of refused commands share."""

from pathlib import Path

import pytest

from tests.refusals import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.fixture
def spare(world: World, tmp_path: Path) -> World:
    return world.copied(tmp_path)
