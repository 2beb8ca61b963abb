"""The flags of every command are a contract: adding, renaming or dropping one shows here.

So are quick answers: `--help` and a mistyped flag end before anything heavy is imported.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from precompute.flags import add_flags as precompute_flags
from shared import choices
from shared.cache.opening import FORMATS
from shared.choices import ARCHITECTURES
from shared.pixels.policy import draw_view
from shared.targets.codecs import CODECS
from tests.helpers import ROOT, Finished
from train import names
from train.flags import add_flags as train_flags
from train.names import DEFAULT_RECIPE
from train.recipes import RECIPES
from train.schedule import SwitchedOn
from train.step import AUTOCAST

# name: default; None where the command derives it from the source, the device or the recipe
PRECOMPUTE = {
    "--split": None, "--images": None, "--limit": None, "--skip-bad": None, "--views": None,
    "--policy": None, "--size": None, "--seed": 0, "--teacher": "resnet34", "--stem": None,
    "--weights": None, "--precision": "fp32", "--teacher-statistics": "eval",
    "--targets": None,
    "--cache": "data/teacher_cache", "--format": "zarr", "--codec": "half", "--block": None,
    "--batch-size": 256, "--workers": None, "--device": None,
}  # fmt: skip
TRAIN = {
    "--recipe": DEFAULT_RECIPE, "--student": None, "--epochs": None, "--batch-size": None,
    "--lr": None, "--seed": 0, "--ema": None, "--cache": None, "--images": None, "--out": None,
    "--teacher": "cached", "--weights": None, "--device": None, "--workers": None,
    "--precision": "fp32", "--accumulate": 1, "--sync-batchnorm": False, "--compile": False,
    "--checkpoint-every": 1000, "--log-every": 50, "--tensorboard": False, "--dry-run": False,
}  # fmt: skip
HELPS = {
    "precompute/run.py": [*PRECOMPUTE],
    "precompute/verify.py": [
        "--cache", "--split", "--samples", "--repair", "--images", "--weights", "--device",
    ],
    "precompute/plan.py": [*PRECOMPUTE],
    "precompute/convert.py": ["--cache", "--to", "--codec", "--split", "--weights"],
    "precompute/pack.py": [
        "--images", "--split", "--skip-bad", "--to", "--shorter-side", "--quality", "--shard-size",
        "--workers",
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
        (precompute_flags, "--policy", list(choices.POLICIES)),
        (precompute_flags, "--teacher", list(ARCHITECTURES)),
        (precompute_flags, "--stem", ["imagenet", "cifar"]),
        (precompute_flags, "--codec", ["exact", "half", "compact", "tiny"]),
        (precompute_flags, "--precision", ["fp32", "bf16"]),
        (precompute_flags, "--teacher-statistics", ["eval", "batch"]),
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


def answer(script: str, *flags: str) -> Finished:
    """The command in a fresh interpreter that prints on stderr, at its end, every heavy package
    that it has imported."""
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'zarr', 'webdataset', 'matplotlib',"
        " 'tqdm', 'sklearn', 'fsspec', 'simplejpeg'}\n"
        "atexit.register(lambda: print('IMPORTED', *sorted(heavy & set(sys.modules)),"
        " file=sys.stderr))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script, *flags], cwd=ROOT, capture_output=True, text=True
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("script", HELPS)
def test_help_lists_every_flag_at_once(script: str) -> None:
    done = answer(script, "--help")
    assert (done.returncode, done.stderr) == (0, "IMPORTED\n")
    listed = re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)
    assert listed == HELPS[script]


@pytest.mark.parametrize("script", HELPS)
def test_help_tells_defaults_and_two_examples(script: str) -> None:
    text = answer(script, "--help").stdout
    examples = re.findall(rf"^  (?:python|torchrun).* {script} .*", text, re.MULTILINE)
    assert len(examples) >= 2
    flags = text.partition("\n\n")[2].partition("examples:")[0]
    entries = re.split(r"\n(?=  -)", " ".join(re.split(r"\n {4,}", flags)))
    for entry in (e.split("\n\n")[0] for e in entries if e.startswith("  --")):
        has_value = re.match(r"  --[a-z-]+ [A-Z|]+", entry)
        assert not has_value or "default:" in entry or "required" in entry, entry


@pytest.mark.parametrize("script", HELPS)
def test_an_unknown_flag_is_one_line(script: str) -> None:
    required = {
        "precompute/run.py": ["--split", "train"],
        "precompute/plan.py": ["--split", "train"],
        "precompute/convert.py": ["--to", "x", "--codec", "tiny"],
        "precompute/pack.py": ["--to", "x", "--split", "train"],
        "train/eval.py": ["--checkpoint", "x"],
        "train/report.py": ["x"],
    }
    last = HELPS[script][-1]
    mistyped = last[:-1] + "x"
    done = answer(script, *required.get(script, []), mistyped)
    assert done.returncode == 2 and done.stdout == ""
    line, imported = done.stderr.splitlines()
    assert line == f"error: there is no flag {mistyped}: did you mean {last}? --help lists all"
    assert imported == "IMPORTED"


@pytest.mark.parametrize(
    ("script", "flags", "line"),
    [
        (
            "precompute/run.py",
            ["--split", "train", "--codec", "hlaf"],
            "--codec has no choice 'hlaf': did you mean half? The choices are exact, half, "
            "compact, tiny",
        ),
        (
            "precompute/run.py",
            ["--split", "train", "--views", "many"],
            "the flags cannot be used: argument --views: invalid int value: 'many'; --help lists "
            "all flags",
        ),
        (
            "precompute/run.py",
            [],
            "the flags cannot be used: the following arguments are required: --split; --help "
            "lists all flags",
        ),
        (
            "train/run.py",
            ["--recipe", "resnet18.cd"],
            "there is no recipe 'resnet18.cd': did you mean resnet18.ce? --help lists all recipes",
        ),
        (
            "train/run.py",
            ["--epoch", "3"],  # no abbreviation, which would hide a mistyped flag
            "there is no flag --epoch: did you mean --epochs? --help lists all",
        ),
    ],
)
def test_a_mistake_is_one_line(script: str, flags: list[str], line: str) -> None:
    done = answer(script, *flags)
    assert done.returncode == 2
    assert done.stderr == f"error: {line}\nIMPORTED\n"


def test_every_choice_is_what_the_code_knows() -> None:
    assert list(choices.CODECS) == list(CODECS)
    assert list(choices.FORMATS) == list(FORMATS)
    assert list(choices.STUDENT_PRECISIONS) == list(AUTOCAST)
    for policy in choices.POLICIES:
        draw_view(policy, 32, 0, 0, 0, 40, 40)


def test_every_recipe_has_its_line_in_the_help() -> None:
    assert list(names.RECIPES) == [recipe.name for recipe in RECIPES]
    for recipe in RECIPES:
        line = names.RECIPES[recipe.name]
        error = recipe.paper_top1_error
        assert error is None or f"({error:.2f})" in line
        late = [t.weight.start for t in recipe.terms if isinstance(t.weight, SwitchedOn)]
        assert (f"from epoch {late[0]}" in line) if late else ("from epoch" not in line)
