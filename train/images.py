"""Opens the train and val images of a run, from a source or from view shards.

Its error messages say which split is missing and how to add it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from shared.choices import VAL_POLICY
from shared.errors import InputError
from shared.images.source import ImageSource, default_source, open_source
from shared.pixels.view import ViewPolicy
from shared.records.identity import require_comparable
from shared.store.checks import require_source
from shared.store.opening import Cache, has_split, open_cache
from train.recipe import Recipe
from train.run_augmentation import augmentation_of

NEITHER = ("train", "val")


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
            _val_images(spec, train.classes),
            len(train.classes),
            ViewPolicy(train.policy or recipe.policy, augmentation=augmentation_of(recipe, cache)),
            ViewPolicy(VAL_POLICY),
            train.size or recipe.size,
        )
    cache.require_views()
    manifest = cache.manifest
    spec = flags.images or manifest.source.spec
    classes = manifest.source.classes
    val: ImageSource | Cache | None = None
    cached_train = None
    if not manifest.holds_pixels:
        cached_train = open_images(spec, "train", limit=manifest.samples)
        require_source(cache, cached_train)
    elif has_split(flags.cache, "val") and not flags.images:
        val = open_cache(flags.cache, "val")
        val.require_views()
        require_comparable(manifest, val.manifest, val.where)
    val = val or _val_images(spec, classes)
    val_policy = ViewPolicy(VAL_POLICY, manifest.interpolation, manifest.crop)
    return RunImages(
        cached_train, val, len(classes), manifest.view_policy, val_policy, manifest.size
    )


def _val_images(spec: str, classes: tuple[str, ...]) -> ImageSource:
    val = open_images(spec, "val")
    if val.classes != classes:
        raise InputError(
            f"train and val of {spec} have different classes: {len(classes)} and "
            f"{len(val.classes)}, or other names; make the folders of both splits the same"
        )
    return val


def open_images(spec: str, split: str, limit: int | None = None) -> ImageSource:
    """open_source, with messages that do not mention --split, which train/ commands do not have."""
    root = Path(spec).expanduser()
    if root.is_dir() and not any((root / name).is_dir() for name in NEITHER):
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        files = any(path.is_file() for path in root.iterdir())
        if folders and not files:
            raise InputError(
                f"{spec} has no train/ and no val/: it holds the folders {_some(folders)}; if they "
                f"are classes, move them into train/ and keep some images of each for val/"
            )
    try:
        return open_source(spec, split, limit)
    except InputError as error:
        if root.is_dir() and not (root / split).is_dir() and str(error).startswith("--split "):
            found = str(error).rpartition(": ")[2]
            raise InputError(
                f"{spec} has no {split} split, which this command needs: {found}; add a folder "
                f"{split}/, or give other --images"
            ) from error
        raise


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names)
