"""--recipe FILE.py: the Recipe that a file builds, and what is said of a file that builds none."""

import os
from pathlib import Path

import pytest

from shared.errors import InputError
from train.losses import KD
from train.recipe_file import recipe_called
from train.recipes import get_recipe
from train.schedule import Cosine, WarmUp

PLAIN = get_recipe("s_resnet18.t_resnet34.kd.ce")
START = """
from dataclasses import dataclass, replace
from typing import ClassVar
from train.losses import CE, KD
from train.losses.loss import Loss
from train.recipe import Recipe, Term
from train.recipes import get_recipe
from train.schedule import Constant, Cosine, Steps, SwitchedOn, WarmUp

base = get_recipe("s_resnet18.t_resnet34.kd.ce")
"""
MINE = """
recipe = replace(
    base, name="mine",
    terms=(Term("ce", CE(), Constant(1.0)), Term("kd", KD(4.0), Constant(0.9))),
    learning_rate=WarmUp(Cosine(0.2, 100), 5),
)
"""


def written(folder: Path, code: str) -> str:
    (folder / "my_recipe.py").write_text(START + code)
    return f"{folder}/my_recipe.py"


def refusal(file: str) -> str:
    with pytest.raises(InputError) as caught:
        recipe_called(file)
    assert "\n" not in str(caught.value) and file in str(caught.value)
    return str(caught.value)


def test_a_file_with_a_recipe(tmp_path: Path) -> None:
    recipe = recipe_called(written(tmp_path, MINE))
    assert (recipe.name, recipe.epochs, recipe.student) == ("mine", 100, "resnet18")
    assert recipe.learning_rate == WarmUp(Cosine(0.2, 100), 5)
    assert recipe.terms[1].loss == KD(temperature=4.0)


def test_a_file_with_one_recipe_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from train.recipes import RECIPES, get_recipe\nr = get_recipe('resnet18.ce')\n"
    )
    assert recipe_called(f"{tmp_path}/one.py") == get_recipe("resnet18.ce")


def test_a_file_with_a_loss_of_its_own_prints_the_same_every_time(tmp_path: Path) -> None:
    code = """
@dataclass(frozen=True)
class Mine(Loss):
    power: float = 2.0
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    def __call__(self, student, batch): ...

recipe = replace(base, name="own", terms=(*base.terms, Term("mine", Mine(), Constant(1.0))))
"""
    file = written(tmp_path, code)
    recipe = recipe_called(file)
    assert repr(recipe) == repr(recipe_called(file)) and "Mine(power=2.0)" in repr(recipe)


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    missing = f"{tmp_path}/missing.py"
    assert refusal(missing) == f"{missing} is not a file: give the path of a Python file"
    os.mkdir(tmp_path / "folder.py")
    assert "is not a file" in refusal(f"{tmp_path}/folder.py")
    for code, told in (
        ("recipe = (", "SyntaxError: '(' was never closed"),
        ("raise RuntimeError('no\\nsuch data')", "RuntimeError: no such data"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("recipe = replace(base, epoch=3)", "TypeError: Recipe.__init__() got an unexpected"),
        ("from train.losses import KLD", "ImportError: cannot import name 'KLD'"),
        ("recipe = get_recipe('resnet')", "there is no recipe 'resnet'"),
    ):
        file = f"{tmp_path}/my_recipe.py"
        if "there is no" in told:
            with pytest.raises(InputError, match=told):
                recipe_called(written(tmp_path, code))
        else:
            written(tmp_path, code)
            assert refusal(file).startswith(f"{file} cannot be imported: {told}")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("del base", "at its top level: it has none; call the one to train `recipe`"),
        ("other = replace(base, name='b')", "it has 2, base, other; call the one to train `recip"),
        ("recipe = {}", "must build a Recipe (train/recipe.py): its `recipe` is a dict"),
    ],
)
def test_files_without_the_recipe(tmp_path: Path, code: str, told: str) -> None:
    assert told in refusal(written(tmp_path, code))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("name='a/../b'", "name must be letters, digits and . _ + - (a run folder has it): it is"),
        ("name=3", "name must be text: it is 3"),
        ("epochs=0", "epochs must be from 1 to 1,000,000: it is 0"),
        ("epochs=True", "epochs must be a whole number: it is True"),
        ("learning_rate=0.1", "learning_rate must be Constant or Steps or Cosine or SwitchedOn"),
        ("learning_rate=Constant(float('nan'))", "lr must be above 0: it is nan"),
        ("learning_rate=Cosine(0.1, 0)", "schedule must be a cosine"),
        ("learning_rate=WarmUp(Constant(0.1), 0)", "warmup must be a number of epochs, 1 or more"),
        ("learning_rate=Steps(0.1, 0.1, [30])", "schedule must be steps at epochs of 0 or more"),
        ("optimizer='lamb'", "optimizer must be one of sgd, adamw: it is lamb"),
        ("betas=(0.9, 1.0)", "betas must be 0 or more and below 1 each: it is (0.9, 1.0)"),
        ("stem='none'", "stem must be one of imagenet, cifar: it is none"),
        ("terms=()", "terms must be a tuple of at least one Term: it is ()"),
        ("terms=[CE()]", "terms must be a tuple of at least one Term: it is [CE("),
        ("terms=(CE(),)", "terms must be a tuple of Terms: it is CE("),
        ("terms=base.terms * 2", "terms must have different names: two are called ce"),
        ("terms=(Term('a b', CE(), Constant(1.0)),)", "a term's name must be letters, digits, _"),
        ("terms=(Term('total', CE(), Constant(1.0)),)", "a term's name must be letters"),
        ("terms=(Term('ce', CE, Constant(1.0)),)", "the loss of ce must be a dataclass that deri"),
        (
            "terms=(Term('ce', print, Constant(1.0)),)",
            "the loss of ce must be a dataclass",
        ),
        ("terms=(Term('ce', CE(), 1.0),)", "ce.weight must be a schedule, like Constant(1.0): it"),
        ("terms=(Term('ce', CE(), Constant(0.0)),)", "no term is left: the weights of all are 0"),
        ("terms=(Term('ce', CE(1.0), Constant(1.0)),)", "ce.label_smoothing must be 0 or more and"),
        ("terms=(Term('kd', KD(0.0), Constant(1.0)),)", "kd.temperature must be above 0: it is 0"),
        ("terms=(Term('ce', CE(), SwitchedOn(Constant(1.0), 100)),)", "ce.start must be an epoch"),
        ("terms=(Term('kd', KD(print), Constant(1.0)),)", "it cannot be read (TypeError"),
        ("terms=base.terms[:1]", "teacher must be none, by what the losses need: it is resnet34"),
        ("teacher=None", "teacher must be an architecture, by what the losses need: it is None"),
        ("guide=lambda *_: None", "guide must be none, as no loss is guided: it is <function"),
    ],
)
def test_recipes_that_cannot_be_trained(tmp_path: Path, change: str, told: str) -> None:
    line = refusal(written(tmp_path, f"recipe = replace(base, {change})"))
    assert f"my_recipe.py cannot be used: {told}" in line


def test_a_loss_that_does_not_print_its_values(tmp_path: Path) -> None:
    """A run is known by what its recipe prints, which must not change from start to start."""
    code = """
@dataclass(frozen=True, repr=False)
class Mine(Loss):
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    def __call__(self, student, batch): ...

recipe = replace(base, terms=(Term("mine", Mine(), Constant(1.0)),))
"""
    assert "the loss of mine must print its values (a run" in refusal(written(tmp_path, code))
