"""How the views of a run are augmented, and which losses go with that."""

from shared.errors import InputError
from shared.pixels.augmentation import Augmentation, parse_augmentation
from shared.store.opening import Cache
from train.recipe import Recipe


def augmentation_of(recipe: Recipe, cache: Cache | None) -> Augmentation | None:
    """That of the cache's views or, without a cache, of the recipe.

    Raises InputError if the recipe wants another one than the cache has, or if views are mixed of
    two images and a loss of the recipe reads one label for each.
    """
    wanted = None
    if recipe.augment is not None:
        wanted = parse_augmentation(recipe.augment, f"augment of recipe {recipe.name}")
    found, whose = wanted, f"recipe {recipe.name}"
    if cache is not None:
        found, whose = cache.manifest.view_policy.augmentation, cache.where
        if wanted is not None and wanted != found:
            raise InputError(
                f"recipe {recipe.name} augments views by {wanted}, and the teacher of {whose} saw "
                f"{found or 'views without augmentation'}: make a cache with precompute/run.py "
                f"--augment {wanted}, or choose another recipe"
            )
    if found is not None and found.mixes:
        _require_soft_labels(recipe, found, whose)
    return found


def _require_soft_labels(recipe: Recipe, found: Augmentation, whose: str) -> None:
    names = [term.name for term in recipe.terms if term.loss.hard_labels]
    if names:
        raise InputError(
            f"recipe {recipe.name} cannot be used with the mixed views of {whose} ({found}): its "
            f"term {names[0]} reads one label for each image, and a mixed view has two; choose "
            f"another recipe, or views without mixup and cutmix"
        )
