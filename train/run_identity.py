"""The contents of run.json: what changes a run's numbers, and facts for evaluation and reports."""

import argparse
from typing import Any

from shared.choices import VAL_POLICY
from shared.distributed import World
from shared.images.source import ImageSource
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from shared.records.identity import cache_id
from shared.store.opening import Cache
from train.composition import composition_json
from train.images import RunImages
from train.recipe import Recipe
from train.recipe_words import in_json
from train.run_targets import RunTargets


def identity_of(
    flags: argparse.Namespace, recipe: Recipe, images: RunImages, targets: RunTargets
) -> dict[str, Any]:
    """Everything that changes the numbers. All runs of a folder must agree (train/folder.py)."""
    train, val = images.train, images.val
    manifest = targets.cache.manifest if targets.cache else None
    classes = targets.fixed.classes
    return {
        "recipe": repr(recipe),
        "student": flags.student or recipe.student,
        "init": flags.init,
        "stage_modules": flags.stage_modules,
        "stages": flags.stages,
        "mean": flags.mean,
        "std": flags.std,
        "teacher": flags.teacher,
        "seed": flags.seed,
        "precision": flags.precision,
        "accumulate": flags.accumulate,
        "sync_batchnorm": flags.sync_batchnorm,
        "images": train.digest if train else manifest and manifest.source.digest,
        "val": val.digest if isinstance(val, ImageSource) else val.manifest.source.digest,
        "val_cache": None if isinstance(val, ImageSource) else cache_id(val.manifest),
        "val_policy": VAL_POLICY if isinstance(val, ImageSource) else val.manifest.policy,
        "cache": manifest and cache_id(manifest),
        "views": manifest and manifest.views,
        "classes": classes and classes.digest,
    }


def facts_of(
    flags: argparse.Namespace,
    recipe: Recipe,
    images: RunImages,
    targets: RunTargets,
    backbone: StagedModel,
    normalisation: Normalisation,
    world: World,
) -> dict[str, Any]:
    """Facts for readers of run.json, such as train/eval.py and train/report.py."""
    cache, train = targets.cache, images.train
    return {
        "model": {
            "architecture": backbone.architecture,
            "stem": backbone.stem,
            "classes": images.classes,
            "size": images.size,
            "mean": normalisation.mean,
            "std": normalisation.std,
            "stage_modules": backbone.stage_modules,
            "interpolation": images.val_policy.interpolation,
            "crop": images.val_policy.crop,
            "composition": composition_json(backbone.composition),
        },
        "recipe": recipe.name,
        "resolved": in_json(recipe),
        "epochs": recipe.epochs,
        "processes": world.size,
        "samples": len(train) if train else cache and cache.manifest.samples,
        "cache": None if cache is None else _cache(cache, recipe, targets),
        "flags": {name: str(value) for name, value in vars(flags).items()},
    }


def _cache(cache: Cache, recipe: Recipe, targets: RunTargets) -> dict[str, Any]:
    manifest = cache.manifest
    layers = manifest.layers_for(recipe.needs)
    return {
        "where": cache.where,
        "format": manifest.format,
        "teacher": manifest.teacher.architecture,
        "weights": manifest.teacher.weights,
        "views": manifest.views,
        "samples": manifest.samples,
        "size": manifest.size,
        "policy": manifest.policy,
        "augment": manifest.augment,
        "codec": manifest.codec,
        "bytes_per_view": cache.num_bytes(layers=layers) / manifest.samples,
        "tails": targets.tails and list(targets.tails.share),
    }
