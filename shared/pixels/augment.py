"""Draws and applies the operations of an augmentation that change one image: jitter, RandAugment,
erasing. For those that mix two images see mix.py.

All parameters are a pure function of (seed, view number, sample index), from raw words (words.py).
Precompute and training draw them again in the same way, so caches do not store them.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from shared.device import one_thread
from shared.pixels.augmentation import Augmentation
from shared.pixels.rand_augment import apply_operation, draw_operations
from shared.pixels.words import below, purpose, share, words

JITTER = purpose("jitter")
ERASING = purpose("erasing")
NOISE = purpose("noise")

# The defaults of torchvision's RandomErasing
_AREA = (0.02, 0.33)  # share of the view's area
_RATIO = (0.3, 3.3)  # height / width, uniform in its logarithm
_ATTEMPTS = 10
_RATIOS = 64
# Rounded, so that the values do not depend on the last bits of exp and log.
_RATIO_AT = tuple(
    round(_RATIO[0] * (_RATIO[1] / _RATIO[0]) ** ((step + 0.5) / _RATIOS), 3)
    for step in range(_RATIOS)
)


@dataclass(frozen=True)
class Jitter:
    order: tuple[int, ...]  # of the four adjustments
    factors: tuple[float, ...]  # of brightness, contrast, saturation, hue


_ADJUSTMENTS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)
_UNCHANGED = (1.0, 1.0, 1.0, 0.0)


def augmented(how: Augmentation, pixels: Tensor, seed: int, number: int, index: int) -> Tensor:
    """The pixels of view `number` of sample `index` after all operations but mixing.

    (3, S, S) uint8 on both sides, of a square view. The result may share memory with `pixels`.
    """
    # One memory layout and one thread, since kernels may add up in another order otherwise.
    with one_thread():
        return _augmented(how, pixels.contiguous(), seed, number, index)


def _augmented(how: Augmentation, pixels: Tensor, seed: int, number: int, index: int) -> Tensor:
    if how.jitter is not None:
        drawn = draw_jitter(seed, number, index, how.jitter)
        for which in drawn.order:
            if drawn.factors[which] != _UNCHANGED[which]:
                pixels = _ADJUSTMENTS[which](pixels, drawn.factors[which])
    if how.randaugment is not None:
        ops, magnitude = how.randaugment
        for name, negative in draw_operations(seed, number, index, ops):
            pixels = apply_operation(pixels, name, magnitude, negative)
    if how.erasing is not None:
        box = draw_erasing(seed, number, index, how.erasing, pixels.shape[-1])
        if box is not None:
            top, left, height, width = box
            noise = draw_noise(seed, number, index, height, width)
            pixels = functional.erase(pixels, top, left, height, width, noise)
    return pixels


def draw_jitter(seed: int, number: int, index: int, strengths: tuple[float, ...]) -> Jitter:
    """Factors are uniform in 1 - strength .. 1 + strength, that of hue in -strength .. strength."""
    drawn = words(seed, JITTER, number, index, 8)
    order = tuple(np.argsort(drawn[:4], kind="stable").tolist())
    sides = (2 * share(word) - 1 for word in drawn[4:].tolist())  # -1 to 1
    factors = tuple(
        middle + strength * side
        for middle, strength, side in zip(_UNCHANGED, strengths, sides, strict=True)
    )
    return Jitter(order, factors)


def draw_erasing(
    seed: int, number: int, index: int, probability: float, size: int
) -> tuple[int, int, int, int] | None:
    """(top, left, height, width) of the rectangle to erase from a view of `size` pixels, or None.

    As in torchvision, nothing is erased if none of ten rectangles fits.
    """
    first, *others = words(seed, ERASING, number, index, 1 + 4 * _ATTEMPTS).tolist()
    if share(first) >= probability:
        return None
    for attempt in range(_ATTEMPTS):
        area, ratio, top, left = others[4 * attempt : 4 * attempt + 4]
        area = size**2 * (_AREA[0] + share(area) * (_AREA[1] - _AREA[0]))
        ratio = _RATIO_AT[below(ratio, _RATIOS)]
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < height < size and 0 < width < size:
            return below(top, size - height + 1), below(left, size - width + 1), height, width
    return None


def draw_noise(seed: int, number: int, index: int, height: int, width: int) -> Tensor:
    """(3, height, width) uint8: the bytes of raw words, in little-endian order."""
    count = 3 * height * width
    drawn = words(seed, NOISE, number, index, -(-count // 8)).astype("<u8")
    return torch.from_numpy(drawn.view(np.uint8)[:count].reshape(3, height, width).copy())
