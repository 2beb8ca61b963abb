"""Makes the student of a run, with what the losses of its recipe ask for."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from shared.choices import ARCHITECTURES
from shared.errors import InputError
from shared.models.names import stages_named
from shared.models.staged import StagedModel
from shared.targets.kinds import kind_of, require_stages
from train.images import RunImages
from train.pairing import pair_stages
from train.parts import Meeting, Part, facts_of_student
from train.recipe import Recipe
from train.run_composition import adopt_teacher, composition_of
from train.run_targets import RunTargets
from train.student import Student, StudentChoice, build_student, place_student


def make_student(
    flags: argparse.Namespace,
    recipe: Recipe,
    images: RunImages,
    targets: RunTargets,
    device: torch.device,
) -> Student:
    """Raises InputError if flags, recipe and teacher do not go together."""
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
    choice = replace(choice, composition=composition_of(flags, recipe, targets, choice))
    if targets.cache is None or not recipe.needs:
        student = build_student(choice, (), flags.seed)
    else:
        teacher = targets.cache.manifest.teacher
        student = build_student(
            choice,
            teacher.channels if "channels" in recipe.needs else (),
            flags.seed,
            flags.stages if "channels" in recipe.needs else None,
            teacher.signed,
            partial(parts_of, recipe, targets, flags.stages, images.size),
        )
    adopt_teacher(student.backbone, flags, recipe, targets, images.size)
    if flags.sync_batchnorm:
        student = _with_sync_batchnorm(student, device)
    place_student(student, device)
    return student


def parts_of(
    recipe: Recipe, targets: RunTargets, stages: str | None, size: int, backbone: StagedModel
) -> Mapping[str, Part]:
    """The parts that the losses of `recipe` ask for, by name."""
    assert targets.cache is not None
    teacher = targets.cache.manifest.teacher
    meeting = Meeting(
        student=facts_of_student(backbone, size),
        head=backbone.last_layer,
        channels=teacher.channels,
        shapes=_shapes(recipe, targets, size),
        pairs=pair_stages(stages, len(teacher.channels), len(backbone.channels)),
        signed=teacher.signed,
        pooled=backbone.pooled and teacher.form.pooled,
    )
    found: dict[str, Part] = {}
    for term in recipe.terms:
        for name, part in term.loss.parts(meeting).items():
            found.setdefault(name, part)
    return found


def _shapes(recipe: Recipe, targets: RunTargets, size: int) -> dict[str, tuple[int, ...]]:
    """The shape a sample of every kind of targets that the recipe needs."""
    if targets.teacher is not None:
        facts = targets.teacher.facts(size)
        require_stages(sorted(recipe.kinds), facts.stages, f"recipe {recipe.name}")
        return {name: kind_of(name).shape(facts) for name in recipe.kinds}
    assert targets.cache is not None
    encoding = targets.cache.manifest.encoding
    return {name: encoding.shape(name) for name in recipe.kinds}


def _with_sync_batchnorm(student: Student, device: torch.device) -> Student:
    if device.type != "cuda":
        raise InputError(
            f"--sync-batchnorm works between GPUs only: got --device {device}; leave it out"
        )
    synced: Student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
    return synced
