"""Opens the train and val images of a run, from a source or from view shards."""

import argparse
from dataclasses import dataclass

from shared.choices import VAL_POLICY
from shared.distributed import read_world
from shared.epochs.images import open_images, replayed_images, val_images, val_of_cache
from shared.epochs.small_crops import note_small_crops
from shared.errors import InputError
from shared.images.source import ImageSource, default_source
from shared.pixels.view import ViewPolicy
from shared.store.opening import Cache
from train.recipe import Recipe
from train.run_augmentation import augmentation_of


@dataclass(frozen=True)
class RunImages:
    train: ImageSource | None  # None if the cache stores the views' pixels
    val: ImageSource | Cache  # images, or a cached val split with view shards
    classes: int
    policy: ViewPolicy  # of the training views
    val_policy: ViewPolicy  # of val images that no cache holds
    size: int  # side in pixels


def open_run_images(flags: argparse.Namespace, recipe: Recipe, cache: Cache | None) -> RunImages:
    """Raises InputError if the two splits, or images and cache, do not go together."""
    asked = {text.partition("=")[0] for text in flags.set or ()}
    if cache is None:
        spec = flags.images or default_source()
        train = open_images(spec, "train")
        # Built-in sets have a policy and a size that suit them better than those of most recipes.
        policy = recipe.policy if "policy" in asked else train.policy or recipe.policy
        size = recipe.size if "size" in asked else train.size or recipe.size
        if read_world().is_first:
            note_small_crops(train, policy, size)
        return RunImages(
            train,
            val_images(spec, train.classes),
            len(train.classes),
            ViewPolicy(policy, augmentation=augmentation_of(recipe, cache)),
            ViewPolicy(VAL_POLICY),
            size,
        )
    manifest = cache.manifest
    _require_views_of(cache, {name: getattr(recipe, name) for name in ("policy", "size")}, asked)
    cached_train = replayed_images(cache, flags.images)
    val = val_of_cache(cache, flags.cache, flags.images)
    val_policy = ViewPolicy(VAL_POLICY, manifest.interpolation, manifest.crop)
    return RunImages(
        cached_train,
        val,
        len(manifest.source.classes),
        manifest.view_policy,
        val_policy,
        manifest.size,
    )


def _require_views_of(cache: Cache, wanted: dict[str, object], asked: set[str]) -> None:
    """Raises InputError if --set asks for other views than those of the cache."""
    for name, value in wanted.items():
        there = getattr(cache.manifest, name)
        if name in asked and value != there:
            raise InputError(
                f"--set {name}={value} cannot be used with {cache.where}: its views were made with "
                f"{name} {there}; leave it out, or make another cache with precompute/run.py "
                f"--{name} {value}"
            )
