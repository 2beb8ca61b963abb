"""How the student of a run is composed: what its recipe asks for, with the facts of its teacher."""

import argparse

from shared.errors import InputError
from shared.models.names import parse_name
from shared.models.staged import StagedModel
from shared.store.checks import require_classes_of_images
from shared.store.live_teacher import teachers_head
from shared.store.opening import Cache
from shared.targets.targets import Head
from train.composition import Composition, Projection
from train.narrow import blocks_of
from train.pairing import pair_stages
from train.projected import Projected
from train.recipe import Recipe
from train.run_targets import RunTargets
from train.split import Split, halves_of
from train.student import StudentChoice


def composition_of(
    flags: argparse.Namespace, recipe: Recipe, targets: RunTargets, choice: StudentChoice
) -> Composition | None:
    """How the chosen network is composed; None: it is the network itself.

    Raises InputError if recipe, flags and teacher do not allow it.
    """
    if recipe.composition is None:
        return None
    if targets.cache is None:
        raise InputError(
            f"recipe {recipe.name} composes its student of networks that fit the teacher: give its "
            f"cache with --cache"
        )
    teacher = targets.cache.manifest.teacher
    if recipe.composition == "projected":
        return Projection(teacher.channels[-1], _side(recipe, targets, choice.size), teacher.signed)
    architecture = choice.architecture
    _require_splittable(flags, recipe, architecture)
    stages = len(blocks_of(architecture)[1])
    if stages < len(teacher.channels):
        raise InputError(
            f"recipe {recipe.name} splits a network whose stages all of the teacher's meet: "
            f"{architecture} has {stages} and {teacher.architecture} {len(teacher.channels)}; "
            f"choose another --student"
        )
    return halves_of(
        architecture, choice.classes, choice.stem, choice.size, teacher.channels, teacher.signed
    )


def adopt_teacher(
    backbone: StagedModel, flags: argparse.Namespace, recipe: Recipe, targets: RunTargets, size: int
) -> None:
    """Gives a composed network the teacher's last layer, and freezes what no loss of the recipe
    trains. Raises InputError if the teacher has no such layer, or --stages does not fit."""
    if isinstance(backbone, Split):
        backbone.freeze_unread(recipe.kinds)
    if isinstance(backbone, Projected):
        assert targets.cache is not None, "refused by composition_of"
        stages = len(targets.cache.manifest.teacher.channels)
        for theirs, mine in pair_stages(flags.stages, stages, len(backbone.channels)):
            if (theirs == stages - 1) != (mine == len(backbone.channels) - 1):
                raise InputError(
                    f"--stages {flags.stages} cannot be used with recipe {recipe.name}, whose "
                    f"student maps its last stage to the teacher's last: leave it out, or pair "
                    f"{stages}:{len(backbone.channels)}"
                )
        backbone.take_head(_head(targets.cache, flags, recipe))
        backbone.freeze_unread(size)


def _require_splittable(flags: argparse.Namespace, recipe: Recipe, architecture: str) -> None:
    if parse_name(architecture).library != "plain":
        raise InputError(
            f"recipe {recipe.name} splits a ResNet into two narrower ones, and {architecture} is "
            f"none that can be split: choose --student resnet18 to resnet152, or cifar_resnet8 "
            f"to cifar_resnet110"
        )
    for name in ("init", "stages", "stage_modules"):
        if getattr(flags, name) is not None:
            why = {
                "init": "whose narrower networks start from new weights",
                "stages": "whose stages are made for the teacher's",
                "stage_modules": "whose stages are fixed",
            }[name]
            raise InputError(
                f"--{name.replace('_', '-')} cannot be used with recipe {recipe.name}, which "
                f"splits {architecture} and {why}: leave it out"
            )


def _side(recipe: Recipe, targets: RunTargets, size: int) -> int | None:
    """Pixels a side of the teacher's last map, if a loss of the recipe compares it."""
    assert targets.cache is not None
    manifest = targets.cache.manifest
    kind = f"map{len(manifest.teacher.channels)}"
    if kind not in recipe.kinds:
        return None
    if targets.teacher is not None:
        return targets.teacher.facts(size).maps[-1][0]
    return manifest.added[kind][1]


def _head(cache: Cache, flags: argparse.Namespace, recipe: Recipe) -> Head:
    user = f"recipe {recipe.name}"
    teacher = cache.manifest.teacher
    if not teacher.linear or teacher.embedding is not None:
        raise InputError(
            f"{user} ends with the teacher's last layer on the mean of its last stage, and the "
            f"logits of {teacher.architecture} are not linear in that: choose another recipe or "
            f"teacher"
        )
    require_classes_of_images(cache, frozenset({"head"}), user)
    return teachers_head(cache, flags.weights, user)
