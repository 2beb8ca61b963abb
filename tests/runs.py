"""Run folders: the facts of one, a refusal to read one, and what two have in common: everything but
the clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import InputError
from train.run_files import read_metrics

TIMINGS = {"seconds", "images_per_second", "seconds_left"}
FILES = ("run.json", "metrics.jsonl", "last.pt", "best.pt", "curves.png", "done")


def load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def require_equal(mine: Any, theirs: Any, where: str = "") -> None:
    """Nested dicts and lists of tensors and numbers, bit for bit."""
    assert type(mine) is type(theirs), where
    if isinstance(mine, torch.Tensor):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs), where
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs), where
        for name in mine:
            require_equal(mine[name], theirs[name], f"{where}/{name}")
    elif isinstance(mine, list | tuple):
        assert len(mine) == len(theirs), where
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            require_equal(one, other, f"{where}/{place}")
    else:
        assert mine == theirs, where


def metrics(run: Path) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    return [
        {name: value for name, value in record.items() if name not in TIMINGS}
        for record in read_metrics(run)
    ]


def require_same_run(mine: Path, theirs: Path) -> None:
    states = [load(folder / "last.pt") for folder in (mine, theirs)]
    for state in states:
        del state["layout"]  # who came last, with how many processes
    require_equal(*states, "last.pt")
    require_equal(load(mine / "best.pt"), load(theirs / "best.pt"), "best.pt")
    assert metrics(mine) == metrics(theirs)
    assert sorted(path.name for path in mine.iterdir()) == sorted(FILES)


RUN = {
    "identity": {"recipe": "r", "teacher": "none", "seed": 0, "views": 2},
    "epochs": 2,
    "cache": None,
    "flags": {"images": "None"},
    "model": {
        "architecture": "resnet18", "stem": "cifar", "classes": 3, "size": 8,
        "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2],
    },
}  # fmt: skip


def refusal(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)
