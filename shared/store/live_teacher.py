"""Loads the teacher that a cache was made with, to run it again and compare with the cache."""

from pathlib import Path

import torch

from shared.errors import InputError
from shared.models.names import parse_name
from shared.models.weights import weights_digest
from shared.pixels.normalise import Normalisation
from shared.records.manifest import Manifest
from shared.store.opening import Cache
from shared.targets.targets import Head
from shared.targets.teacher import Teacher, TeacherChoice, load_teacher


def cached_teacher(
    manifest: Manifest, weights: str | None, device: torch.device, network: str | None = None
) -> Teacher:
    """The cache's teacher, loaded from `weights`, or from the path in the manifest if that is None.
    `network`: the name of the user's own network, if it has moved.

    If the cache's statistics are "batch", the teacher must be given whole batches of the cache.
    Raises InputError if the weights differ from those that the cache was made with.
    """
    facts = manifest.teacher
    weights = weights or facts.weights
    own = parse_name(network or facts.architecture)
    if own.library == "own" and own.name.endswith(".py") and not Path(own.name).is_file():
        raise InputError(
            f"the cache's teacher is {own.name}:{own.function}, and there is no such file: put it "
            f"there again, or give its new name to precompute/verify.py --teacher FILE.py:FUNCTION"
        )
    teacher = load_teacher(choice_of(manifest, weights, network), device)
    if (digest := weights_digest(teacher.model.network)) != facts.sha256:
        raise InputError(
            f"{weights} is not the cached teacher: its sha256 is {digest[:12]}, the cache was made "
            f"with weights of {facts.sha256[:12]}; give the same file with --weights"
        )
    return teacher


def teachers_head(cache: Cache, weights: str | None, user: str) -> Head:
    """The teacher's last layer, on the CPU: from the cache, or from its teacher's weights where the
    codec needs no last layer and the cache does not hold it.

    Raises InputError if the teacher's logits are not a linear function of its embedding, or its
    weights cannot be had. `user` is what needs it, for the message.
    """
    manifest = cache.manifest
    if not manifest.teacher.linear:
        raise InputError(
            f"{user} needs the teacher's last layer, and the logits of the teacher of "
            f"{cache.where} are not a linear function of its embedding: choose a recipe that does "
            f"not need it, or another teacher"
        )
    head = cache.head()
    if head is None:
        head = cached_teacher(manifest, weights, torch.device("cpu")).head
        assert head is not None, "the manifest says that it is linear"
    return head


def choice_of(manifest: Manifest, weights: str, network: str | None = None) -> TeacherChoice:
    """The teacher that the manifest names, with `weights` and under a name that may be new."""
    facts = manifest.teacher
    return TeacherChoice(
        network or facts.architecture,
        facts.stem,
        None if facts.class_map else facts.classes,
        weights,
        manifest.size,
        Normalisation(manifest.mean, manifest.std),
        manifest.precision,
        manifest.statistics,
        facts.stage_modules,
        facts.class_map,
    )
