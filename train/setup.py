"""Builds everything that a run needs from the flags of train/run.py, with checks."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from shared.device import default_workers, pick_device
from shared.distributed import World, connect, from_first, read_world
from shared.errors import InputError
from shared.files.location import Location
from shared.files.objects import require_location
from shared.models.names import parse_name
from shared.models.preparation import preparation_of
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation, normalisation_asked
from shared.store.opening import Cache
from train.images import RunImages, open_run_images
from train.logs.names import logs_of
from train.logs.needs import require_logs
from train.made_student import make_student
from train.optimizer import make_optimizer
from train.recipe import Recipe
from train.run_augmentation import augmentation_of
from train.run_identity import facts_of, identity_of
from train.run_recipe import recipe_of
from train.run_targets import RunTargets, open_run_cache, open_run_targets
from train.student import Student


@dataclass(frozen=True)
class Setup:
    recipe: Recipe  # for this run, with epochs, batch size and learning rate from the flags
    images: RunImages
    targets: RunTargets
    student: Student
    optimizer: Optimizer
    normalisation: Normalisation
    device: torch.device
    workers: int
    seed: int
    precision: str
    accumulate: int  # number of pieces into which a step's batch is cut
    world: World
    folder: Location  # of the run
    stage: Path | None  # where the processes of a machine share targets; None: chosen
    identity: dict[str, Any]  # what changes the numbers
    facts: dict[str, Any]  # for run.json and the report


def make_setup(flags: argparse.Namespace) -> Setup:
    """Opens cache and images and builds the student; connects the processes of the run.

    Raises InputError if flags, cache, images and recipe do not go together.
    """
    recipe = recipe_of(flags)
    world = read_world()
    device = pick_device(flags.device, world.local_rank)
    connect(world, device)
    folder = run_location(flags, recipe)
    cache = open_run_cache(flags, folder, world)
    augmentation_of(recipe, cache)  # raises before images are listed
    images = open_run_images(flags, recipe, cache)
    targets = open_run_targets(flags, recipe, cache, images.train, device)
    require_batches(recipe, flags.accumulate)
    student = make_student(flags, recipe, images, targets, device)
    normalisation = normalisation_of(flags, student.backbone, cache)
    return Setup(
        recipe=recipe,
        images=images,
        targets=targets,
        student=student,
        optimizer=make_optimizer(student, recipe, device, flags.precision),
        normalisation=normalisation,
        device=device,
        # The batches of view shards depend on it, and each process must know those of all.
        workers=from_first(
            lambda: default_workers(device) if flags.workers is None else flags.workers, world
        ),
        seed=flags.seed,
        precision=flags.precision,
        accumulate=flags.accumulate,
        world=world,
        folder=folder,
        stage=None if flags.stage is None else Path(flags.stage),
        identity=identity_of(flags, recipe, images, targets),
        facts=facts_of(flags, recipe, images, targets, student.backbone, normalisation, world),
    )


def run_location(flags: argparse.Namespace, recipe: Recipe) -> Location:
    """The run folder. Raises InputError for a URL that it cannot be at, or for a --log that needs a
    package which is missing, or cannot be kept there."""
    folder: Location = flags.out or Path("runs") / recipe.name
    require_location(folder, "--out")
    require_logs(logs_of(flags), folder)
    return folder


def require_batches(recipe: Recipe, accumulate: int) -> None:
    """Raises InputError if a loss that needs the whole batch would get it in pieces."""
    names = [term.name for term in recipe.terms if term.loss.relational]
    if names and accumulate > 1:
        raise InputError(
            f"--accumulate {accumulate} cannot be used with recipe {recipe.name}, whose term "
            f"{names[0]} compares the samples of a batch with each other and so needs all of them "
            f"at once: leave it out, and use more processes or --precision bf16 where memory is "
            f"small"
        )


def normalisation_of(
    flags: argparse.Namespace, backbone: StagedModel, cache: Cache | None
) -> Normalisation:
    """What the student's pixels are normalised with: --mean and --std, else what its library
    documents for it, else the teacher's.

    A network that starts from new weights follows the teacher, unless timm has values for it.
    """
    how = preparation_of(backbone.architecture, backbone.stem, flags.init or "")
    usual = how.normalisation
    library = parse_name(backbone.architecture).library
    if cache is not None and flags.init is None and library != "timm":
        usual = Normalisation(cache.manifest.mean, cache.manifest.std)
    return normalisation_asked(flags.mean, flags.std, usual)
