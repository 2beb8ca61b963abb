"""Builds everything that a run needs from the flags of train/run.py, with checks."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from shared.cache.opening import Cache
from shared.choices import ARCHITECTURES
from shared.device import default_workers, pick_device
from shared.distributed import World, connect, read_world
from shared.errors import InputError
from shared.models.names import parse_name, stages_named
from shared.models.preparation import preparation_of
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation, normalisation_asked
from train.images import RunImages, open_run_images
from train.recipe import Recipe
from train.run_identity import facts_of, identity_of
from train.run_recipe import recipe_of
from train.run_targets import RunTargets, open_run_cache, open_run_targets
from train.student import Student, StudentChoice, build_student, place_student


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
    folder: Path  # of the run
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
    folder = flags.out or Path("runs") / recipe.name
    cache = open_run_cache(flags, folder, world)
    images = open_run_images(flags, recipe, cache)
    targets = open_run_targets(flags, recipe, cache, images.train, device)
    student = _make_student(flags, recipe, images, cache, device)
    normalisation = normalisation_of(flags, student.backbone, cache)
    return Setup(
        recipe=recipe,
        images=images,
        targets=targets,
        student=student,
        optimizer=make_optimizer(student, recipe, device, flags.precision),
        normalisation=normalisation,
        device=device,
        workers=default_workers(device) if flags.workers is None else flags.workers,
        seed=flags.seed,
        precision=flags.precision,
        accumulate=flags.accumulate,
        world=world,
        folder=folder,
        identity=identity_of(flags, recipe, images, cache),
        facts=facts_of(flags, recipe, images, targets, student.backbone, normalisation, world),
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


def _make_student(
    flags: argparse.Namespace,
    recipe: Recipe,
    images: RunImages,
    cache: Cache | None,
    device: torch.device,
) -> Student:
    teacher = cache.manifest.teacher if cache and "channels" in recipe.needs else None
    architecture = flags.student or recipe.student
    possible = ARCHITECTURES.get(architecture, ("imagenet",))
    choice = StudentChoice(
        architecture,
        recipe.stem if recipe.stem in possible else possible[0],
        images.classes,
        images.size,
        stages_named(flags.stage_modules),
        flags.init,
    )
    if teacher is None:
        student = build_student(choice, (), flags.seed)
    else:
        student = build_student(choice, teacher.channels, flags.seed, flags.stages, teacher.signed)
    if flags.sync_batchnorm:
        student = _with_sync_batchnorm(student, device)
    place_student(student, device)
    return student


def make_optimizer(
    student: nn.Module, recipe: Recipe, device: torch.device, precision: str
) -> Optimizer:
    """SGD, fused into one kernel per step on a GPU, except under fp16.

    Under fp16 the gradients of the first step normally overflow, until the scaler has adapted.
    torch's fused SGD then leaves the momenta uninitialised, and the next step adds them to the
    weights (torch 2.11 and 2.15). With plain SGD the scaler itself skips the step, for which the
    host waits for the device."""
    return SGD(
        student.parameters(),
        lr=recipe.learning_rate(0),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda" and precision != "fp16",
    )


def _with_sync_batchnorm(student: Student, device: torch.device) -> Student:
    if device.type != "cuda":
        raise InputError(
            f"--sync-batchnorm works between GPUs only: got --device {device}; leave it out"
        )
    synced: Student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
    return synced
