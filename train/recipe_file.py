"""A recipe by the name of one of ours, or by the name of a Python file that builds one.

    # my_recipe.py, for --recipe my_recipe.py
    from dataclasses import replace
    from train.recipes import get_recipe

    recipe = replace(get_recipe("s_resnet18.t_resnet34.cd.ce"), name="mine", weight_decay=5e-5)

The file is run, so it may contain losses and guides of its own.
"""

from shared.errors import InputError
from shared.models.own import own_module
from train.recipe import Recipe
from train.recipe_checks import unsound
from train.recipes import get_recipe


def recipe_called(name: str) -> Recipe:
    """Raises InputError if there is no such recipe or file, or the file builds no usable recipe."""
    if not name.endswith(".py"):
        return get_recipe(name)
    recipe = _recipe_in(name)
    try:
        problem = unsound(recipe)
    except Exception as error:  # of a loss or schedule in the file
        problem = f"it cannot be read ({type(error).__name__}: {error})"
    if problem is not None:
        raise InputError(f"the recipe in {name} cannot be used: {problem}")
    return recipe


def _recipe_in(file: str) -> Recipe:
    """`recipe`, or the only Recipe that the file has at its top level."""
    names = vars(own_module(file))
    if (chosen := names.get("recipe")) is not None:
        if isinstance(chosen, Recipe):
            return chosen
        raise InputError(
            f"{file} must build a Recipe (train/recipe.py): its `recipe` is a "
            f"{type(chosen).__name__}"
        )
    found = {name: value for name, value in names.items() if isinstance(value, Recipe)}
    if len(found) != 1:
        told = f"has {len(found)}, {', '.join(found)}" if found else "has none"
        raise InputError(
            f"{file} must build one Recipe (train/recipe.py) at its top level: it {told}; call the "
            f"one to train `recipe`"
        )
    return next(iter(found.values()))
