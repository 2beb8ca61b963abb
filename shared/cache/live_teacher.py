"""Loads the teacher that a cache was made with, to run it again and compare with the cache."""

import torch

from shared.errors import InputError
from shared.models.build import weights_digest
from shared.pixels.normalise import Normalisation
from shared.records.manifest import Manifest
from shared.targets.teacher import Teacher, load_teacher


def cached_teacher(manifest: Manifest, weights: str | None, device: torch.device) -> Teacher:
    """The cache's teacher, loaded from `weights`, or from the path in the manifest if that is None.

    If the cache's statistics are "batch", the teacher must be given whole batches of the cache.
    Raises InputError if the weights differ from those that the cache was made with.
    """
    facts = manifest.teacher
    weights = weights or facts.weights
    normalisation = Normalisation(manifest.mean, manifest.std)
    teacher = load_teacher(
        facts.architecture,
        facts.stem,
        facts.classes,
        weights,
        normalisation,
        manifest.precision,
        device,
        manifest.statistics,
    )
    if (digest := weights_digest(teacher.model)) != facts.sha256:
        raise InputError(
            f"{weights} is not the cached teacher: its sha256 is {digest[:12]}, the cache was made "
            f"with weights of {facts.sha256[:12]}; give the same file with --weights"
        )
    return teacher
