"""Losses that compare samples with each other: several processes with uneven parts equal one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import run
from tests.losses.embedding_cases import RELATIONAL
from tests.processes import finish, start_world
from tests.runs import load

SCRIPT = "tests/losses/shared_steps.py"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("one") / "found.pt"
    run(SCRIPT, path)
    return load(path)


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_are_one(one: Any, tmp_path: Path, processes: int) -> None:
    """Values and gradients of each loss, then three steps with DistributedDataParallel."""
    finish(start_world(processes, SCRIPT, tmp_path / "found.pt"))
    found = load(tmp_path / "found.pt")
    for loss in RELATIONAL:
        assert len([name for name in one["rows"] if name.startswith(f"{loss} ")]) >= 1
    assert found["rows"].keys() == one["rows"].keys()
    for name, values in one["rows"].items():
        torch.testing.assert_close(found["rows"][name], values, rtol=1e-6, atol=1e-6, msg=name)
    assert found["steps"].keys() == one["steps"].keys()
    for name, values in one["steps"].items():
        torch.testing.assert_close(found["steps"][name], values, rtol=1e-5, atol=1e-5, msg=name)
