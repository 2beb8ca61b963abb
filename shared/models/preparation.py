"""How images are made for a network: size, interpolation, crop and normalisation, as its library
documents them for its weights."""

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torchvision.models import get_model_weights

from shared.errors import InputError
from shared.models.names import ModelName, parse_name
from shared.models.timm_model import timm_config
from shared.models.weights import LIBRARYS_OWN, published
from shared.pixels.normalise import NORMALISATIONS, Normalisation, normalisation_asked
from shared.pixels.view import CENTER, INTERPOLATION


@dataclass(frozen=True)
class Preparation:
    size: int | None  # pixels a side; None: the library does not say
    normalisation: Normalisation
    interpolation: str = INTERPOLATION
    crop: float = CENTER  # the size as a share of the resized shorter side, for validation


def preparation_of(architecture: str, stem: str, weights: str) -> Preparation:
    """Raises InputError if there is no such network."""
    name = parse_name(architecture)
    if name.library == "timm":
        return _of_timm(name, weights)
    if name.library in ("plain", "torchvision") and weights in published(name):
        given: Any = get_model_weights(name.name)[weights].transforms()
        (size,), (side,) = given.crop_size, given.resize_size
        return Preparation(
            size,
            Normalisation(tuple(given.mean), tuple(given.std)),
            given.interpolation.value,
            size / side,
        )
    return Preparation(32 if stem == "cifar" else None, NORMALISATIONS[stem])


def preparation_asked(flags: argparse.Namespace, usual: Preparation) -> Preparation:
    """`usual`, but for what --size, --mean, --std, --interpolation and --crop say.

    Raises InputError for a value that no image can have.
    """
    if flags.size is not None and flags.size < 1:
        raise InputError(f"--size must be 1 or more: got {flags.size}")
    if flags.crop is not None and not 0 < flags.crop <= 1:  # also catches nan
        raise InputError(f"--crop must be above 0 and at most 1: got {flags.crop}")
    return Preparation(
        flags.size or usual.size,
        normalisation_asked(flags.mean, flags.std, usual.normalisation),
        flags.interpolation or usual.interpolation,
        flags.crop or usual.crop,
    )


def _of_timm(name: ModelName, weights: str) -> Preparation:
    given = import_module("timm.data").resolve_data_config(
        pretrained_cfg=timm_config(tagged(name.name, weights))
    )
    size = given["input_size"][-1]
    side = int(size / given["crop_pct"])  # rounded down, as timm does
    return Preparation(
        size,
        Normalisation(tuple(given["mean"]), tuple(given["std"])),
        given["interpolation"],
        size / side,
    )


def tagged(name: str, weights: str) -> str:
    """timm's name of a network with the tag of its weights, if `weights` is one."""
    if ":" in name or weights == LIBRARYS_OWN or weights not in published(ModelName("timm", name)):
        return name
    return f"{name.partition('.')[0]}.{weights}"
