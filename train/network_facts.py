"""What train/eval.py must know of a network without a run.json: from its flags and its library."""

import argparse
from typing import Any

from shared.errors import InputError, note
from shared.models.build import USUAL_SIZE, stem_for
from shared.models.preparation import preparation_of, require_flags
from shared.pixels.normalise import colours


def facts_of_network(flags: argparse.Namespace, classes: int, size: int | None) -> dict[str, Any]:
    """As "model" in run.json, for data of `classes` and `size` (pixels; None: any).

    Raises InputError if there is no such network, or a flag is wrong.
    """
    require_flags(flags.size, flags.crop)
    stem = stem_for(flags.student, flags.stem)
    how = preparation_of(flags.student, stem, str(flags.checkpoint))
    modules = flags.stage_modules
    if not (flags.size or size or how.size):
        note(
            f"neither images nor network have a size of their own: they are seen at {USUAL_SIZE} "
            f"px; --size gives another"
        )
    return {
        "architecture": flags.student,
        "stem": stem,
        "classes": classes,
        "size": flags.size or size or how.size or USUAL_SIZE,
        "mean": colours("--mean", flags.mean) or how.normalisation.mean,
        "std": colours("--std", flags.std) or how.normalisation.std,
        "stage_modules": None if modules is None else modules.split(","),
        "interpolation": flags.interpolation or how.interpolation,
        "crop": flags.crop or how.crop,
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
