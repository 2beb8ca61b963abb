"""The flags of every command are a contract: adding, renaming or dropping one shows here."""

import argparse
from collections.abc import Callable

import pytest

from precompute.flags import add_flags as precompute_flags
from shared import choices
from shared.pixels.policy import draw_view
from shared.store.opening import FORMATS
from shared.targets.codecs import CODECS
from shared.targets.kinds import BY_STAGE, KINDS, kind_of
from tests.all_flags import PRECOMPUTE, TRAIN
from train import names
from train.flags import add_flags as train_flags
from train.recipes import RECIPES
from train.schedule import SwitchedOn
from train.step import AUTOCAST


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
        (precompute_flags, "--stem", ["imagenet", "cifar"]),
        (precompute_flags, "--codec", ["exact", "half", "compact", "tiny"]),
        (precompute_flags, "--interpolation", ["bilinear", "bicubic"]),
        (precompute_flags, "--precision", ["fp32", "bf16"]),
        (precompute_flags, "--teacher-statistics", ["eval", "batch"]),
        (train_flags, "--teacher", ["cached", "live", "none"]),
        (train_flags, "--precision", ["fp32", "bf16", "fp16"]),
    ],
)
def test_choices_are_pinned(
    add_flags: Callable[[argparse.ArgumentParser], None], flag: str, choices: list[str]
) -> None:
    (action,) = (a for a in parser_of(add_flags)._actions if a.option_strings == [flag])
    assert action.choices is not None and list(action.choices) == choices


def test_every_choice_is_what_the_code_knows() -> None:
    assert list(choices.CODECS) == list(CODECS)
    assert list(choices.FORMATS) == list(FORMATS)
    assert list(choices.STUDENT_PRECISIONS) == list(AUTOCAST)
    for names_ in choices.TARGETS:
        for name in names_.removesuffix(", ...").split(", "):
            kind_of(name)
    assert {name.partition(",")[0].rstrip("0123456789") for name in choices.TARGETS} == {
        *(name.rstrip("0123456789") for name in KINDS), *BY_STAGE,
    }  # fmt: skip
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
