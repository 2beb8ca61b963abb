"""RandAugment (Cubuk et al., arXiv 1909.13719): operations of one fixed strength, drawn at random.

The operations and their strengths are those of torchvision's RandAugment with 31 magnitudes, and
the pixels are equal, too. Shears, translations and rotations interpolate bilinearly and fill with
black, as in torchvision's training recipes.
"""

import math
from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from shared.pixels.augmentation import MOST_MAGNITUDE
from shared.pixels.words import below, purpose, words

PURPOSE = purpose("randaug")
_MOST_SHEAR = 0.3
_MOST_COLOUR = 0.9  # added to or subtracted from a factor of 1
_INTERPOLATION = InterpolationMode.BILINEAR

# (pixels, magnitude with the drawn sign) -> pixels; (3, S, S) uint8
_Operation = Callable[[Tensor, int], Tensor]


def draw_operations(seed: int, number: int, index: int, ops: int) -> list[tuple[str, bool]]:
    """(name of the operation, whether its strength is negative) for each of `ops` operations."""
    drawn = words(seed, PURPOSE, number, index, 2 * ops).tolist()
    return [
        (NAMES[below(which, len(NAMES))], below(sign, 2) == 1)
        for which, sign in zip(drawn[::2], drawn[1::2], strict=True)
    ]


def apply_operation(pixels: Tensor, name: str, magnitude: int, negative: bool) -> Tensor:
    """(3, S, S) uint8 -> the same shape; magnitude: 0 to MOST_MAGNITUDE."""
    return _OPERATIONS[name](pixels, -magnitude if negative else magnitude)


def _affine(pixels: Tensor, translate: list[float], shear: list[float]) -> Tensor:
    moved: Tensor = functional.affine(
        pixels,
        angle=0.0,
        translate=translate,
        scale=1.0,
        shear=shear,
        interpolation=_INTERPOLATION,
        center=[0.0, 0.0] if any(shear) else None,
    )
    return moved


def _angle(magnitude: int) -> float:
    """Degrees of a shear, rounded so that they do not depend on the last bit of atan."""
    return round(math.degrees(math.atan(_MOST_SHEAR * magnitude / MOST_MAGNITUDE)), 12)


def _shift(pixels: Tensor, magnitude: int) -> float:
    """Whole pixels, up to 150 / 331 of the side, rounded towards 0."""
    most = 150 * pixels.shape[-1] * abs(magnitude) // (331 * MOST_MAGNITUDE)
    return float(math.copysign(most, magnitude))


def _factor(magnitude: int) -> float:
    return 1 + _MOST_COLOUR * magnitude / MOST_MAGNITUDE


def _bits(magnitude: int) -> int:
    return round(8 - 4 * abs(magnitude) / MOST_MAGNITUDE)


def _threshold(magnitude: int) -> float:
    return 255 * (1 - abs(magnitude) / MOST_MAGNITUDE)


def _rotate(pixels: Tensor, magnitude: int) -> Tensor:
    degrees = 30 * magnitude / MOST_MAGNITUDE
    turned: Tensor = functional.rotate(pixels, degrees, interpolation=_INTERPOLATION)
    return turned


_OPERATIONS: dict[str, _Operation] = {
    "Identity": lambda pixels, m: pixels,
    "ShearX": lambda pixels, m: _affine(pixels, [0, 0], [_angle(m), 0.0]),
    "ShearY": lambda pixels, m: _affine(pixels, [0, 0], [0.0, _angle(m)]),
    "TranslateX": lambda pixels, m: _affine(pixels, [_shift(pixels, m), 0], [0.0, 0.0]),
    "TranslateY": lambda pixels, m: _affine(pixels, [0, _shift(pixels, m)], [0.0, 0.0]),
    "Rotate": _rotate,
    "Brightness": lambda pixels, m: functional.adjust_brightness(pixels, _factor(m)),
    "Color": lambda pixels, m: functional.adjust_saturation(pixels, _factor(m)),
    "Contrast": lambda pixels, m: functional.adjust_contrast(pixels, _factor(m)),
    "Sharpness": lambda pixels, m: functional.adjust_sharpness(pixels, _factor(m)),
    "Posterize": lambda pixels, m: functional.posterize(pixels, _bits(m)),
    "Solarize": lambda pixels, m: functional.solarize(pixels, _threshold(m)),
    "AutoContrast": lambda pixels, m: functional.autocontrast(pixels),
    "Equalize": lambda pixels, m: functional.equalize(pixels),
}
NAMES = tuple(_OPERATIONS)
