"""What the tests of tars as a source share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.images import source as images
from tests.fault_proxy import FaultProxy
from tests.tars import served, write_shards


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


@pytest.fixture
def proxy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with served(folder, monkeypatch) as proxy:
        yield proxy
