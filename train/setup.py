"""From the flags of train/run.py to everything that a run is made of, checked before it starts."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from shared.cache.checks import require_pixels, require_targets
from shared.cache.live_teacher import cached_teacher
from shared.cache.opening import Cache, open_cache
from shared.cache.tails_file import read_tails, require_tails
from shared.choices import ARCHITECTURES, VAL_POLICY
from shared.device import default_workers, pick_device
from shared.distributed import World, connect, read_world
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.pixels.normalise import NORMALISATIONS, Normalisation
from shared.targets.tails import Tails
from shared.targets.teacher import Teacher
from train.images import open_run_images
from train.recipe import Recipe
from train.run_recipe import recipe_of
from train.run_views import with_views_of_run
from train.student import Student, build_student, place_student


@dataclass(frozen=True)
class Setup:
    recipe: Recipe  # for this run: epochs, batch size and learning rate as the flags have them
    train: ImageSource | None  # None where the cache holds the views themselves
    val: ImageSource | Cache  # images, or the cached val split of view shards
    classes: int
    policy: str  # of the training views
    size: int  # pixels a side
    cache: Cache | None  # with the views of this run, which may be fewer than there are by now
    teacher: Teacher | None  # the live one
    use_targets: bool  # from the cache
    tails: Tails | None  # of the cache's channel means, where the recipe or the cache has them
    spread: tuple[Tensor, ...] | None  # of every channel, on the device, where the recipe needs it
    student: Student
    optimizer: Optimizer
    normalisation: Normalisation
    device: torch.device
    workers: int
    seed: int
    precision: str
    accumulate: int  # pieces of a step's batch
    world: World
    folder: Path  # of the run
    identity: dict[str, Any]  # what changes the numbers
    facts: dict[str, Any]  # for run.json and the report


def make_setup(flags: argparse.Namespace) -> Setup:
    """Joins the processes of the run; one of several then waits for the others at times.

    InputError where flags, cache, images and recipe do not go together.
    """
    recipe = recipe_of(flags)
    world = read_world()
    device = pick_device(flags.device, world.local_rank)
    connect(world, device)
    folder = flags.out or Path("runs") / recipe.name
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
    train, val, classes = open_run_images(flags, cache)
    teacher = None
    if cache is not None:
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
    facts = cache.manifest if cache else None
    channels = facts.teacher.channels if facts and "channels" in recipe.needs else ()
    architecture = flags.student or recipe.student
    possible = ARCHITECTURES[architecture]
    stem = recipe.stem if recipe.stem in possible else possible[0]
    student = build_student(architecture, stem, classes, channels, flags.seed)
    if flags.sync_batchnorm:
        student = _with_sync_batchnorm(student, device)
    place_student(student, device)
    optimizer = make_optimizer(student, recipe, device, flags.precision)
    size = facts.size if facts else (train and train.size) or recipe.size
    normalisation = NORMALISATIONS[stem]
    if facts is not None:
        normalisation = Normalisation(facts.mean, facts.std)
    return Setup(
        recipe=recipe,
        train=train,
        val=val,
        classes=classes,
        policy=facts.policy if facts else (train and train.policy) or recipe.policy,
        size=size,
        cache=cache,
        teacher=teacher,
        use_targets=flags.teacher == "cached",
        tails=tails,
        spread=tails.on(device) if tails and "spread" in recipe.needs else None,
        student=student,
        optimizer=optimizer,
        normalisation=normalisation,
        device=device,
        workers=default_workers(device) if flags.workers is None else flags.workers,
        seed=flags.seed,
        precision=flags.precision,
        accumulate=flags.accumulate,
        world=world,
        folder=folder,
        identity={
            "recipe": repr(recipe),
            "student": architecture,
            "teacher": flags.teacher,
            "seed": flags.seed,
            "precision": flags.precision,
            "accumulate": flags.accumulate,
            "sync_batchnorm": flags.sync_batchnorm,
            "images": train.digest if train else facts and facts.source.digest,
            "val": val.digest if isinstance(val, ImageSource) else val.manifest.source.digest,
            "val_cache": None if isinstance(val, ImageSource) else val.manifest.cache_id(),
            "val_policy": VAL_POLICY if isinstance(val, ImageSource) else val.manifest.policy,
            "cache": facts.cache_id() if facts else None,
            "views": facts.views if facts else None,
        },
        facts={
            "model": {
                "architecture": architecture,
                "stem": stem,
                "classes": classes,
                "size": size,
                "mean": normalisation.mean,
                "std": normalisation.std,
            },
            "recipe": recipe.name,
            "epochs": recipe.epochs,
            "processes": world.size,
            "samples": len(train) if train else facts and facts.samples,
            "cache": None
            if cache is None
            else {
                "where": cache.where,
                "codec": cache.manifest.codec,
                "bytes_per_view": cache.num_bytes() / cache.manifest.samples,
                "tails": tails and list(tails.share),
            },
            "flags": {name: str(value) for name, value in vars(flags).items()},
        },
    )


def make_optimizer(
    student: nn.Module, recipe: Recipe, device: torch.device, precision: str
) -> Optimizer:
    """One kernel a step on a GPU, but not under fp16: where gradients have overflowed in the very
    first step, which is the scaler's ordinary start, torch's fused SGD leaves momenta that were
    never written, and the next step adds them to the weights (torch 2.11 and 2.15). The scaler
    itself leaves the step out where SGD is not fused; for that the host waits for the device."""
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
