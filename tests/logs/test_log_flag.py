"""--log: its names, its short form, and what is refused before anything is spent."""

import sys
from pathlib import Path

import pytest

from shared.errors import InputError
from tests.helpers import require_refused, run
from train.flags import make_parser
from train.logs.names import logs_of
from train.logs.needs import require_logs


@pytest.mark.parametrize(
    ("flags", "logs"),
    [
        ([], ("jsonl",)),
        (["--log", "csv"], ("jsonl", "csv")),
        (["--log", "wandb, csv,jsonl,csv"], ("jsonl", "csv", "wandb")),
        (["--tensorboard"], ("jsonl", "tensorboard")),
        (["--tensorboard", "--log", "csv"], ("jsonl", "csv", "tensorboard")),
        (["--tensorboard", "--log", "tensorboard"], ("jsonl", "tensorboard")),
    ],
)
def test_metrics_are_always_among_them(flags: list[str], logs: tuple[str, ...]) -> None:
    assert logs_of(make_parser().parse_args(flags)) == logs


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(InputError, match="--log has no choice 'tensorbord': did you mean tensorb"):
        make_parser().parse_args(["--log", "csv,tensorbord"])


@pytest.mark.parametrize(
    ("package", "flags"),
    [("wandb", ("--log", "csv,wandb")), ("tensorboard", ("--tensorboard",))],
)
def test_a_package_that_is_missing(tmp_path: Path, package: str, flags: tuple[str, ...]) -> None:
    """Told before the cache, which does not exist, is looked for."""
    done = run(
        *("tests/logs/without.py", package, "train/run.py", "--cache", tmp_path / "no"),
        *("--out", tmp_path / "run", *flags),
        check=False,
    )
    require_refused(done, f"--log {package} needs the package {package}", f"pip install {package}")
    assert not list(tmp_path.iterdir())


def test_a_folder_named_wandb_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb makes one in the current folder, which may be where Python looks for packages."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(InputError, match="needs the package wandb"):
        require_logs(("wandb",), tmp_path)
