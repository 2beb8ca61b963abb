"""The commands of README.md and docs/*.md are read by the parsers of the commands they name."""

import importlib
from argparse import ArgumentParser

import pytest

from precompute import flags as precompute_flags
from tests.pages import NAMES, commands_of, text_of
from tests.processes import ROOT
from train import flags as train_flags

RUNS = {"precompute.sbatch": "precompute/run.py", "train.sbatch": "train/run.py"}


def scripts_of(name: str) -> list[tuple[str, list[str]]]:
    """(script, its arguments) of every command on a page that starts one of ours."""
    found = []
    for words in commands_of(name):
        scripts = [word for word in words if word.endswith((".py", ".sbatch")) and "/" in word]
        if scripts and scripts[0].split("/")[0] in ("precompute", "train", "docs"):
            script = RUNS.get(scripts[0].split("/")[-1], scripts[0])
            found.append((script, words[words.index(scripts[0]) + 1 :]))
    return found


def parser_of(script: str) -> ArgumentParser:
    if script == "precompute/run.py":
        return precompute_flags.make_parser("", ())
    if script == "train/run.py":
        return train_flags.make_parser()
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    parser: ArgumentParser = module.make_parser()
    return parser


COMMANDS = [(name, *command) for name in NAMES for command in scripts_of(name)]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [command[1:] for command in COMMANDS],
    ids=[" ".join([name, script, *arguments]) for name, script, arguments in COMMANDS],
)
def test_a_command_is_read(script: str, arguments: list[str]) -> None:
    if arguments == ["--help"]:
        assert (ROOT / script).is_file()
        return
    given = parser_of(script).parse_args(arguments)
    if getattr(given, "images", None) == "cifar10":  # of both: a teacher fits the stem it had
        assert "--stem cifar" in " ".join(arguments) or given.recipe.startswith("cifar.")


def test_there_are_commands() -> None:
    assert len(scripts_of("README.md")) >= 5
    assert len(COMMANDS) >= 25


def test_the_targets_of_make_are_in_the_makefile() -> None:
    rules = (ROOT / "Makefile").read_text()
    targets = {words[1] for name in NAMES for words in commands_of(name) if words[0] == "make"}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert f"\n{target}:" in rules, target


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_command_is_found(name: str) -> None:
    """No command hides from the tests above by another indentation or a fence."""
    begins = ("python precompute/run.py --", "python train/run.py --", "torchrun --")
    for line in text_of(name).splitlines():
        assert not line.lstrip().startswith(begins) or line.startswith("    "), line
