"""Opens the train and val images of a run, from a source or from view shards."""

import argparse
from dataclasses import dataclass

from shared.choices import VAL_POLICY
from shared.epochs.images import open_images, replayed_images, val_images, val_of_cache
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
    if cache is None:
        spec = flags.images or default_source()
        train = open_images(spec, "train")
        return RunImages(
            train,
            val_images(spec, train.classes),
            len(train.classes),
            ViewPolicy(train.policy or recipe.policy, augmentation=augmentation_of(recipe, cache)),
            ViewPolicy(VAL_POLICY),
            train.size or recipe.size,
        )
    manifest = cache.manifest
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
