"""What the tests of saving share: a cache of 12 images and a run that was never stopped."""

from pathlib import Path

import pytest

from tests.helpers import run_train
from tests.resuming import flags, make_cache


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs that keeps the checkpoints of the last two."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_train(*flags(cache, out, "cached"), "--ema", 0.5, "--keep", 2)
    return out
