"""The recipe of a run, from its flags."""

import argparse

from shared.errors import InputError
from shared.models.names import parse_name
from train.recipe import Recipe
from train.recipe_file import recipe_called
from train.set_recipe import Given, set_recipe


def recipe_of(flags: argparse.Namespace) -> Recipe:
    """The recipe of --recipe, changed by --set and the flags that mean the same as its keys.

    Raises InputError if a flag is out of range or there is no such recipe or student.
    """
    every = ("checkpoint_every", "validate_every", "log_every")
    for name in ("epochs", "batch_size", "lr", "accumulate", *every):
        # `not >` also catches nan.
        if (value := getattr(flags, name)) is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0: got {value}")
    if not 0 <= flags.seed < 2**63:
        raise InputError(f"--seed must be 0 or more and below 2^63: got {flags.seed}")
    if flags.keep < 0:
        raise InputError(f"--keep must be 0 or more: got {flags.keep}")
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    if flags.ema is not None and not 0 < flags.ema < 1:
        raise InputError(f"--ema must be between 0 and 1, like 0.9999: got {flags.ema}")
    recipe = recipe_called(flags.recipe)
    if flags.student is not None:
        parse_name(flags.student)
    same = {name: getattr(flags, name) for name in ("epochs", "batch_size", "lr", "ema")}
    given = {
        name: Given(value, f"--{name.replace('_', '-')} {value:g}")
        for name, value in same.items()
        if value is not None
    }
    return set_recipe(recipe, flags.set or (), given)
