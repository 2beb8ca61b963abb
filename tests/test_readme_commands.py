"""The commands of README.md are read by the parsers of the commands that they name."""

import importlib
import re
import shlex
from argparse import ArgumentParser

import pytest

from precompute import flags as precompute_flags
from tests.processes import ROOT
from train import flags as train_flags


def commands() -> list[list[str]]:
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"^ {4}python (\S+\.py .*)$", text, re.M)
    return [shlex.split(line) for line in lines]


def parser_of(script: str) -> ArgumentParser:
    if script == "precompute/run.py":
        return precompute_flags.make_parser("", ())
    if script == "train/run.py":
        return train_flags.make_parser()
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    parser: ArgumentParser = module.make_parser()
    return parser


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_is_read(command: list[str]) -> None:
    script, *arguments = command
    given = parser_of(script).parse_args(arguments)
    if getattr(given, "images", None) == "cifar10":  # of both: a teacher fits the stem it had
        assert "--stem cifar" in " ".join(arguments) or given.recipe.startswith("cifar.")


def test_there_are_commands() -> None:
    assert len(commands()) >= 5
