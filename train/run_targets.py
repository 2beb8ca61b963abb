"""Opens the source of a run's targets: its cache, or a live teacher on the cache's views."""

import argparse
from dataclasses import dataclass

import torch

from shared.distributed import World
from shared.errors import InputError
from shared.files.location import Location
from shared.images.source import ImageSource
from shared.store.checks import require_classes_of_images, require_pixels, require_targets
from shared.store.classes_file import require_classes
from shared.store.live_teacher import cached_teacher, teachers_head
from shared.store.opening import Cache, open_cache
from shared.store.tails_file import read_tails, require_tails
from shared.targets.classes import ClassStatistics
from shared.targets.kinds import OF_CLASSES
from shared.targets.tails import Tails
from shared.targets.targets import Head
from shared.targets.teacher import Teacher
from train.batch import Fixed
from train.losses.crd import CRD
from train.memory import Memory
from train.recipe import Recipe
from train.run_views import with_views_of_run


@dataclass(frozen=True)
class RunTargets:
    cache: Cache | None  # with this run's number of views; more may have been added since
    cached: bool  # whether the targets come from the cache
    teacher: Teacher | None  # the live teacher
    tails: Tails | None  # of the cache's channel means; None if not kept or needed
    fixed: Fixed  # what the recipe's losses need that is the same in every step, on the device


def open_run_cache(flags: argparse.Namespace, folder: Location, world: World) -> Cache | None:
    """Opens --cache, if given. Raises InputError if --cache and --teacher do not go together."""
    cache = None if flags.cache is None else open_cache(flags.cache, "train")
    if cache is not None:
        cache = with_views_of_run(cache, folder, world)
        if flags.teacher == "live" and cache.manifest.statistics == "batch":
            raise InputError(
                f"--teacher live cannot be used with {cache.where}, whose teacher used the "
                f"statistics of batches, as training puts an image into other batches: use "
                f"--teacher cached, or make the cache with precompute/run.py --teacher-statistics "
                f"eval"
            )
    if cache is None and flags.teacher != "none":
        raise InputError(
            f"--teacher {flags.teacher} takes views and targets from a cache: no --cache was "
            f"given; make one with precompute/run.py, or train without with --teacher none"
        )
    return cache


def open_run_targets(
    flags: argparse.Namespace,
    recipe: Recipe,
    cache: Cache | None,
    train: ImageSource | None,
    device: torch.device,
) -> RunTargets:
    """Raises InputError if the cache lacks what the recipe needs, or pixels differ here."""
    teacher = None
    if cache is not None:
        if flags.teacher != "none":
            require_classes_of_images(cache, recipe.needs, f"recipe {recipe.name}")
        if flags.teacher == "cached":
            require_targets(cache, recipe.needs, f"recipe {recipe.name}")
        require_pixels(cache, train)
        if flags.teacher == "live":
            teacher = cached_teacher(cache.manifest, flags.weights, device)
    if recipe.needs and flags.teacher == "none":
        raise InputError(
            f"recipe {recipe.name} needs {', '.join(sorted(recipe.needs))} from a teacher: got "
            f"--teacher none; choose resnet18.ce, or --teacher cached with --cache"
        )
    tails = None
    if cache is not None:
        tails = require_tails(cache) if "spread" in recipe.needs else read_tails(cache)
    fixed = Fixed(
        spread=tails.on(device) if tails and "spread" in recipe.needs else None,
        head=_head(cache, flags, recipe).to(device) if cache and "head" in recipe.needs else None,
        classes=_classes(cache, recipe, device) if cache and recipe.needs & OF_CLASSES else None,
        memory=_memory(cache, recipe, flags.seed, device) if cache else None,
    )
    return RunTargets(cache, flags.teacher == "cached", teacher, tails, fixed)


def _classes(cache: Cache, recipe: Recipe, device: torch.device) -> ClassStatistics:
    wanted = sorted(recipe.needs & OF_CLASSES)
    return require_classes(cache, f"recipe {recipe.name}", wanted).on(device)


def _head(cache: Cache, flags: argparse.Namespace, recipe: Recipe) -> Head:
    user = f"recipe {recipe.name}"
    require_classes_of_images(cache, frozenset({"head"}), user)
    return teachers_head(cache, flags.weights, user)


def _memory(cache: Cache, recipe: Recipe, seed: int, device: torch.device) -> Memory | None:
    widths = {t.name: t.loss.width for t in recipe.terms if isinstance(t.loss, CRD)}
    if len(widths) > 1:
        raise InputError(
            f"recipe {recipe.name} has the terms {', '.join(widths)}, each of which needs a memory "
            f"of every sample, and a run has one memory: leave out all but one"
        )
    for width in widths.values():
        return Memory(cache.manifest.samples, width, seed, device)
    return None
