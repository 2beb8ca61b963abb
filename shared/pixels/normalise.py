"""Converts uint8 pixels to a network's input on the device, so that loaders move uint8 only."""

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import torch
from torch import Tensor

from shared.errors import InputError


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 - mean) / std per channel, RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, same shape and device.

        One multiply and one add. Scale and shift are computed in float64 first, so that all callers
        get the same bits from the same pixels.
        """
        scale, shift = _constants(self, pixels.device)
        return torch.addcmul(shift, pixels.float(), scale)


@lru_cache(maxsize=16)
def _constants(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """(scale, shift), each (1, 3, 1, 1), kept on the device."""
    pairs = list(zip(normalisation.mean, normalisation.std, strict=True))
    scale = torch.tensor([1 / (255 * std) for _, std in pairs]).view(1, 3, 1, 1)
    shift = torch.tensor([-mean / std for mean, std in pairs]).view(1, 3, 1, 1)
    return scale.to(device), shift.to(device)


# By stem. All torchvision weights were trained with the ImageNet values; the CIFAR values are from
# the paper's code (cifar_train.py: mean and standard deviation of the training pixels, 0-255).
NORMALISATIONS = {
    "imagenet": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "cifar": Normalisation(
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255), std=(63.0 / 255, 62.1 / 255, 66.7 / 255)
    ),
}


def normalisation_asked(mean: str | None, std: str | None, usual: Normalisation) -> Normalisation:
    """`usual`, but for what --mean and --std say. Raises InputError if one is not three numbers."""
    return Normalisation(colours("--mean", mean) or usual.mean, colours("--std", std) or usual.std)


def colours(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """The value of --mean or --std. Raises InputError unless it is three numbers, above 0 for
    --std."""
    if text is None:
        return None
    try:
        red, green, blue = found = [float(part) for part in text.split(",")]
        if not all(map(isfinite, found)) or (flag == "--std" and min(found) <= 0):
            raise ValueError(text)
    except ValueError as error:
        kind = "numbers above 0" if flag == "--std" else "numbers"
        raise InputError(
            f"{flag} must be three {kind}, one a colour, like 0.5,0.5,0.5: got {text[:200]}"
        ) from error
    return red, green, blue
