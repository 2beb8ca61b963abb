"""A recipe as people read it: every loss and number of it, in words and in JSON."""

import json
from dataclasses import fields, replace

import pytest

from train.recipe import Recipe
from train.recipe_words import in_json, in_words, schedule_in_words
from train.recipes import RECIPES, get_recipe
from train.schedule import Constant, Cosine, Schedule, Steps, SwitchedOn, WarmUp

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Constant(0.5), "0.5"),
        (Steps(6.0, 0.9, (29, 59)), "6 (x 0.9 at epochs 29, 59)"),
        (Cosine(0.2, 100), "0.2 (cosine over 100 epochs)"),
        (Cosine(0.2, 100, 1e-4), "0.2 (cosine to 0.0001 over 100 epochs)"),
        (WarmUp(Cosine(0.2, 9), 5), "0.2 (cosine over 9 epochs) after a warm-up of 5 epochs"),
        (SwitchedOn(Constant(1.0), 30), "1 from epoch 30"),
    ],
)
def test_schedules_in_words(schedule: Schedule, words: str) -> None:
    assert schedule_in_words(schedule) == words


@every_recipe
def test_every_term_has_its_line_and_its_object(recipe: Recipe) -> None:
    *lines, last = in_words(recipe)
    told = json.loads(json.dumps(in_json(recipe)))
    assert [*told] == [field.name for field in fields(recipe)]
    assert [*told["terms"]] == [term.name for term in recipe.terms]
    for line, term in zip(lines, recipe.terms, strict=False):
        kind = type(term.loss).__name__
        assert line.startswith(f"{term.name}: {kind}") and all(n in line for n in term.loss.needs)
        loss = told["terms"][term.name]["loss"]
        names = [field.name for field in fields(term.loss)]  # type: ignore[arg-type]
        assert loss["class"] == kind and [*loss] == ["class", *names]
        assert all(name.replace("_", " ") in line for name in names)
    assert (len(lines) - len(recipe.terms)) == (recipe.guide is not None)
    assert last.startswith("optimizer: sgd, momentum 0.9, weight decay 0.000")


def test_the_line_of_the_optimizer() -> None:
    plain = get_recipe("resnet18.ce")
    rate = "rate 0.1 (x 0.1 at epochs 30, 60, 90)"
    for change, words in (
        ({"nesterov": True}, "sgd, momentum 0.9, Nesterov's, weight decay 0.0001"),
        ({"optimizer": "adamw"}, "adamw, betas 0.9, 0.999, weight decay 0.0001"),
        (
            {"decay_norms": False},
            "sgd, momentum 0.9, weight decay 0.0001, none for norms and biases",
        ),
    ):
        assert in_words(replace(plain, **change))[-1] == f"optimizer: {words}; {rate}"  # type: ignore[arg-type]
    assert in_words(replace(plain, ema=0.999))[-1].endswith("; weights averaged with decay 0.999")
