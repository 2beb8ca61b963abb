"""The live teacher that a cache was made with, for what must compare with it or stand in for it."""

import torch

from shared.errors import InputError
from shared.models.build import weights_digest
from shared.pixels.normalise import Normalisation
from shared.records.manifest import Manifest
from shared.targets.teacher import Teacher, load_teacher


def cached_teacher(manifest: Manifest, weights: str | None, device: torch.device) -> Teacher:
    """The live teacher that a cache was made with, from `weights` or from where they lay then.

    Where the cache's statistics are those of batches, it must be given whole batches of the cache.

    InputError where they are not the same weights.
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
