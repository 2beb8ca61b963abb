"""The recipe of a run, from its flags."""

import argparse
from dataclasses import replace

from shared.errors import InputError
from shared.models.names import parse_name
from train.recipe import Recipe
from train.recipes import get_recipe


def recipe_of(flags: argparse.Namespace) -> Recipe:
    """The named recipe with this run's epochs, batch size, learning rate and averaging.

    Raises InputError if a flag is out of range or there is no such recipe or student.
    """
    for name in ("epochs", "batch_size", "lr", "accumulate", "checkpoint_every", "log_every"):
        # `not >` also catches nan.
        if (value := getattr(flags, name)) is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0: got {value}")
    if not 0 <= flags.seed < 2**63:
        raise InputError(f"--seed must be 0 or more and below 2^63: got {flags.seed}")
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    if flags.ema is not None and not 0 < flags.ema < 1:
        raise InputError(f"--ema must be between 0 and 1, like 0.9999: got {flags.ema}")
    recipe = get_recipe(flags.recipe)
    if flags.student is not None:
        parse_name(flags.student)
    recipe = recipe.scaled(flags.epochs or recipe.epochs)
    if flags.lr is not None:
        rate = replace(recipe.learning_rate, value=flags.lr)
        recipe = replace(recipe, learning_rate=rate)
    if flags.ema is not None:
        recipe = replace(recipe, ema=flags.ema)
    return replace(recipe, batch_size=flags.batch_size or recipe.batch_size)
