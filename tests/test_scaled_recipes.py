"""Recipes in another number of epochs start and end as they do in their own."""

import pytest

from shared.errors import InputError
from train.names import DEFAULT_RECIPE
from train.recipe import Recipe
from train.recipes import RECIPES, get_recipe

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def test_scaled_to_ten_epochs() -> None:
    recipe = get_recipe(DEFAULT_RECIPE).scaled(10)
    assert recipe.epochs == 10
    rates = [recipe.learning_rate(epoch) for epoch in range(10)]
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.001] * 3 + [0.0001])
    weights = [recipe.weights(epoch) for epoch in range(10)]
    assert [w["ce"] for w in weights] == [0.0] * 3 + [1.0] * 7
    assert [w["gkd"] for w in weights] == [0.0] * 3 + [1.0] * 7
    assert [w["cd"] for w in weights] == pytest.approx([6.0] * 3 + [5.4] * 3 + [4.86] * 3 + [4.374])


def test_scaled_to_one_epoch_has_every_term_on_at_the_first_learning_rate() -> None:
    recipe = get_recipe(DEFAULT_RECIPE).scaled(1)
    assert recipe.weights(0) == {"ce": 1.0, "gkd": 1.0, "cd": 6.0}
    assert recipe.learning_rate(0) == 0.1


@every_recipe
def test_scaled_to_its_own_length_is_itself(recipe: Recipe) -> None:
    assert recipe.scaled(recipe.epochs) == recipe


@every_recipe
def test_a_run_of_any_length_starts_and_ends_as_the_recipe_does(recipe: Recipe) -> None:
    for epochs in range(1, 2 * recipe.epochs):
        scaled = recipe.scaled(epochs)
        assert scaled.epochs == epochs and scaled.needs == recipe.needs
        assert scaled.learning_rate.peak == recipe.learning_rate.peak
        last = recipe.weights(recipe.epochs - 1)
        for name, weight in scaled.weights(epochs - 1).items():
            assert (weight > 0) == (last[name] > 0), name
        for mine, term in zip(scaled.terms, recipe.terms, strict=True):
            assert mine.weight.peak == term.weight.peak
            if epochs > 1:
                assert (mine.weight(0) == 0) == (term.weight(0) == 0)


@pytest.mark.parametrize("epochs", [0, -3])
def test_scaled_refuses_a_run_without_epochs(epochs: int) -> None:
    with pytest.raises(InputError) as error:
        get_recipe(DEFAULT_RECIPE).scaled(epochs)
    assert str(error.value) == (f"--epochs must be 1 or more: got {epochs}")
