"""What train/eval.py must know of a network without a run.json: from its flags and its library."""

import argparse
from dataclasses import replace
from typing import Any

from shared.errors import InputError, note
from shared.models.build import USUAL_SIZE, stem_for
from shared.models.names import stages_named
from shared.models.preparation import preparation_asked, preparation_of


def facts_of_network(flags: argparse.Namespace, classes: int, size: int | None) -> dict[str, Any]:
    """As "model" in run.json, for data of `classes` and `size` (pixels; None: any).

    Raises InputError if there is no such network, or a flag is wrong.
    """
    stem = stem_for(flags.student, flags.stem)
    usual = preparation_of(flags.student, stem, str(flags.checkpoint))
    how = preparation_asked(flags, replace(usual, size=size or usual.size))
    if how.size is None:
        note(
            f"neither images nor network have a size of their own: they are seen at {USUAL_SIZE} "
            f"px; --size gives another"
        )
    return {
        "architecture": flags.student,
        "stem": stem,
        "classes": classes,
        "size": how.size or USUAL_SIZE,
        "mean": how.normalisation.mean,
        "std": how.normalisation.std,
        "stage_modules": stages_named(flags.stage_modules),
        "interpolation": how.interpolation,
        "crop": how.crop,
    }


def require_network(flags: argparse.Namespace) -> None:
    """Raises InputError for flags that describe a network, without its name."""
    names = ("stem", "stage_modules", "size", "mean", "std", "interpolation", "crop")
    given = [name for name in names if getattr(flags, name) is not None]
    if flags.student is None and given:
        raise InputError(
            f"--{given[0].replace('_', '-')} describes a network that no run.json does: give its "
            f"name with --student, or leave the flag out"
        )
    if flags.student is not None and flags.images is None and flags.cache is None:
        raise InputError("--student needs --images, on whose val split it is evaluated, or --cache")
    views = [name for name in ("interpolation", "crop") if getattr(flags, name) is not None]
    if flags.cache is not None and views:
        raise InputError(
            f"--{views[0]} cannot be used with --cache, which has its own views: leave it out"
        )
