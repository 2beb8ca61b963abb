"""How images are made for a network: size, interpolation, crop and normalisation, as its library
documents them for its weights."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torchvision.models import get_model_weights

from shared.errors import InputError
from shared.models.names import ModelName, parse_name
from shared.models.timm_model import timm_network
from shared.models.weights import LIBRARYS_OWN, published
from shared.pixels.normalise import NORMALISATIONS, Normalisation
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


def require_flags(size: int | None, crop: float | None) -> None:
    """Raises InputError for a --size or --crop that no image can have."""
    if size is not None and size < 1:
        raise InputError(f"--size must be 1 or more: got {size}")
    if crop is not None and not 0 < crop <= 1:  # also catches nan
        raise InputError(f"--crop must be above 0 and at most 1: got {crop}")


def _of_timm(name: ModelName, weights: str) -> Preparation:
    network: Any = timm_network(tagged(name.name, weights), None, None)
    given = import_module("timm.data").resolve_model_data_config(network)
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
