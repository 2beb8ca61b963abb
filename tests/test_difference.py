"""How two recipes differ, in words, whatever the texts that are said to be recipes hold."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.difference import difference, needs_teacher, same_recipe
from train.recipes import RECIPES, get_recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_are_told_apart_by_what_differs(recipe: Any) -> None:
    scaled = recipe.scaled(recipe.epochs * 2)
    told = difference(repr(recipe), repr(scaled)).split(", ")
    assert f"epochs {recipe.epochs} -> {scaled.epochs}" in told
    assert difference(repr(recipe), repr(recipe.scaled(recipe.epochs))).count("->") == 1  # itself
    assert needs_teacher(repr(recipe)) == bool(recipe.needs)


def test_a_difference_names_terms_and_fields() -> None:
    mine = repr(get_recipe("s_resnet18.t_resnet34.cd.ce"))
    assert difference(mine, mine.replace("Constant(value=6.0)", "Constant(value=3.0)")) == (
        "terms.cd.weight.value 6.0 -> 3.0"
    )
    other = repr(get_recipe("resnet18.ce"))
    assert difference(mine, other) == (
        "name 's_resnet18.t_resnet34.cd.ce' -> 'resnet18.ce', terms.cd is gone, "
        "teacher 'resnet34' -> None, paper_top1_error 28.38 -> 30.43"
    )


def test_a_run_of_an_earlier_version_has_the_same_recipe() -> None:
    now = repr(get_recipe("s_resnet18.t_resnet34.kd.ce"))
    earlier = now.partition(", optimizer=")[0] + ")"
    for text, before in (("CE(label_smoothing=0.0)", "CE()"), (", standardise=False", "")):
        assert text in earlier
        earlier = earlier.replace(text, before)
    assert earlier.endswith("ema=None)")
    assert same_recipe(earlier, now) and same_recipe(now, now)
    for old, new in (
        ("'sgd'", "'adamw'"),
        ("label_smoothing=0.0", "label_smoothing=0.1"),
        ("nesterov=False", "nesterov=True"),
        ("temperature=1.0", "temperature=4.0"),
    ):
        assert old in now and not same_recipe(earlier, now.replace(old, new))


@given(st.text(max_size=50), st.text(max_size=50))
def test_texts_that_are_no_recipes(old: str, new: str) -> None:
    assert " -> " in difference(old, new)
    assert difference("(" * 10**4, repr(RECIPES[0])).startswith("((((")
    assert needs_teacher(old)
    assert "\n" not in difference(f"{old}\n", new) and "\x1b" not in difference("\x1b[0m", new)
