"""The flags of every command are a contract: adding, renaming or dropping one shows here."""

import argparse
import re
from collections.abc import Callable

import pytest

from precompute.job import add_flags as precompute_flags
from shared.models import ARCHITECTURES
from shared.view import POLICIES
from tests.helpers import run
from train.recipes import DEFAULT_RECIPE
from train.setup import add_flags as train_flags

# name: default; None where the command derives it from the source, the device or the recipe
PRECOMPUTE = {
    "--split": None, "--images": None, "--cache": "data/teacher_cache", "--format": "zarr",
    "--views": None, "--policy": None, "--size": None, "--teacher": "resnet34",
    "--stem": "imagenet", "--weights": None, "--codec": "half", "--precision": "fp32",
    "--batch-size": 256, "--workers": None, "--device": None, "--seed": 0, "--block": None,
    "--limit": None, "--skip-bad": None,
}  # fmt: skip
TRAIN = {
    "--recipe": DEFAULT_RECIPE, "--cache": None, "--images": None, "--out": None,
    "--student": None, "--teacher": "cached", "--weights": None, "--epochs": None,
    "--batch-size": None, "--lr": None, "--seed": 0, "--workers": None, "--device": None,
    "--precision": "fp32", "--ema": None, "--accumulate": 1, "--sync-batchnorm": False,
    "--compile": False, "--checkpoint-every": 1000, "--log-every": 50, "--tensorboard": False,
    "--dry-run": False,
}  # fmt: skip
HELPS = {
    "precompute/run.py": [*PRECOMPUTE],
    "precompute/verify.py": [
        "--cache", "--split", "--samples", "--images", "--weights", "--device", "--repair",
    ],
    "precompute/plan.py": [*PRECOMPUTE],
    "precompute/convert.py": ["--cache", "--to", "--codec", "--split", "--weights"],
    "precompute/pack.py": [
        "--images", "--split", "--to", "--shorter-side", "--quality", "--shard-size", "--workers",
        "--skip-bad",
    ],
    "train/run.py": [*TRAIN],
    "train/eval.py": ["--checkpoint", "--cache", "--images", "--workers", "--device"],
    "train/report.py": ["--out"],
}  # fmt: skip


def parser_of(add_flags: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    return parser


@pytest.mark.parametrize(
    ("add_flags", "expected"),
    [(precompute_flags, PRECOMPUTE), (train_flags, TRAIN)],
    ids=["precompute", "train"],
)
def test_flags_and_defaults_are_pinned(
    add_flags: Callable[[argparse.ArgumentParser], None], expected: dict[str, object]
) -> None:
    actions = parser_of(add_flags)._actions
    assert [action.option_strings for action in actions] == [[name] for name in expected]
    defaults = [action.default for action in actions]
    for action, default, wanted in zip(actions, defaults, expected.values(), strict=True):
        got = default if default is None or isinstance(wanted, int) else str(default)
        assert got == wanted, action.option_strings
    assert [action.dest for action in actions if action.required] == (
        ["split"] if add_flags is precompute_flags else []
    )


@pytest.mark.parametrize(
    ("add_flags", "flag", "choices"),
    [
        (precompute_flags, "--format", ["zarr", "webdataset"]),
        (precompute_flags, "--policy", list(POLICIES)),
        (precompute_flags, "--teacher", list(ARCHITECTURES)),
        (precompute_flags, "--stem", ["imagenet", "cifar"]),
        (precompute_flags, "--codec", ["exact", "half", "compact", "tiny"]),
        (precompute_flags, "--precision", ["fp32", "bf16"]),
        (train_flags, "--teacher", ["cached", "live", "none"]),
        (train_flags, "--student", list(ARCHITECTURES)),
        (train_flags, "--precision", ["fp32", "bf16", "fp16"]),
    ],
)
def test_choices_are_pinned(
    add_flags: Callable[[argparse.ArgumentParser], None], flag: str, choices: list[str]
) -> None:
    (action,) = (a for a in parser_of(add_flags)._actions if a.option_strings == [flag])
    assert action.choices is not None and list(action.choices) == choices


@pytest.mark.parametrize("script", HELPS)
def test_help_lists_every_flag(script: str) -> None:
    done = run(script, "--help")
    assert done.stderr == ""
    listed = re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)
    assert listed == HELPS[script]


@pytest.mark.parametrize("script", HELPS)
def test_an_unknown_flag_ends_with_exit_code_2(script: str) -> None:
    done = run(script, "--nonsense", check=False)
    assert done.returncode == 2 and "usage: " in done.stderr and "Traceback" not in done.stderr
