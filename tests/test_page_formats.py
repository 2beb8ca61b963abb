"""The examples in docs/formats.md read caches without the code of this project."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages import python_of
from tests.small_cache import make_cache, make_manifest

PAGE = "docs/formats.md"


def run_example(of: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(python_of(PAGE, of), names)
    return names


def test_targets_are_read_with_zarr_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_cache(tmp_path / "data/teacher_cache", make_manifest())
    names = run_example("import zarr")
    assert names["means"].shape == (10, 4 + 3 + 2 + 5)
    assert capsys.readouterr().out.startswith("spatial means of the outputs")


def test_targets_of_view_shards_are_read_with_tarfile_and_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_cache(tmp_path / "data/teacher_cache", make_manifest(store="webdataset"))
    record = run_example("import tarfile")["targets"]
    assert record["channels"].shape == (4 + 3 + 2 + 5,) and record["channels"].dtype == np.float16
    assert record["box"].shape == (4,)
