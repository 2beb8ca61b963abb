"""The view policies: how the crop box and flip of a view are drawn.

A view is a pure function of (policy, size, seed, view number, sample index, image shape), drawn
from raw words of a counter-based generator (words.py). Each draw takes the same number of words,
and each word has one fixed meaning. `exp` and `log` may differ in the last bit between machines,
which is one reason why caches store the box and not only the seed.
"""

import math
from dataclasses import replace

from shared.choices import POLICIES
from shared.errors import InputError
from shared.pixels.decode import MAX_PIXELS
from shared.pixels.view import CENTER, View, ViewPolicy, as_policy, sees_whole, shorter_side
from shared.pixels.words import purpose, words

# The defaults of torchvision's RandomResizedCrop, which every ImageNet recipe uses
SCALE = (0.08, 1.0)  # share of the image's area
RATIO = (3 / 4, 4 / 3)  # width / height
ATTEMPTS = 10
PAD = 4  # pixels: the usual CIFAR augmentation

PURPOSE = purpose("view")
WORDS = 1 + 4 * ATTEMPTS  # flip, then (area, ratio, top, left) for each attempt


class TooSmall(InputError):
    """An image is too small for the policy. Treated like an image that does not decode."""


def draw_view(
    policy: ViewPolicy | str,
    size: int,
    seed: int,
    number: int,
    index: int,
    height: int,
    width: int,
) -> View:
    """View `number` of sample `index` (in source order) for an image of height x width pixels.

    `size` is the side of the network's input in pixels; number and index are >= 0. Raises
    InputError for an unknown policy or a seed outside 0..2**64-1, and TooSmall for an image that is
    too small for `pad-crop`.
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed must be at least 0 and below 2**64, got {seed}")
    how = as_policy(policy)
    if how.name == "random-resized-crop":
        view = _random_resized_crop(_uniforms(seed, number, index), height, width)
    elif how.name == "pad-crop":
        view = _pad_crop(_uniforms(seed, number, index), size, height, width)
    elif how.name == "resize-center":
        view = _resize_center(size, how.crop, height, width)
    elif how.name == "center":
        view = _center(size, height, width)
    else:
        raise InputError(f"--policy must be one of {', '.join(POLICIES)}, got {how.name!r}")
    return replace(view, interpolation=how.interpolation, crop=how.crop)


def _uniforms(seed: int, number: int, index: int) -> list[float]:
    """WORDS numbers in [0, 1), multiples of 2**-53."""
    drawn = words(seed, PURPOSE, number, index, WORDS)
    uniforms: list[float] = ((drawn >> 11) * 2.0**-53).tolist()
    return uniforms


def _random_resized_crop(uniforms: list[float], height: int, width: int) -> View:
    flip = uniforms[0] < 0.5
    log_ratio = math.log(RATIO[0]), math.log(RATIO[1])
    for attempt in range(ATTEMPTS):
        area, ratio, top, left = uniforms[1 + 4 * attempt : 5 + 4 * attempt]
        area = height * width * (SCALE[0] + area * (SCALE[1] - SCALE[0]))
        ratio = math.exp(log_ratio[0] + ratio * (log_ratio[1] - log_ratio[0]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return View(_below(top, height - h + 1), _below(left, width - w + 1), h, w, flip)
    # No box fitted, as in a panorama: take the largest central box with an allowed ratio.
    h, w = height, width
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return View((height - h) // 2, (width - w) // 2, h, w, flip)


def _pad_crop(uniforms: list[float], size: int, height: int, width: int) -> View:
    least = size - 2 * PAD
    if min(height, width) < least:
        raise TooSmall(
            f"--policy pad-crop at --size {size} needs images of at least {least} x {least} "
            f"pixels, got {width} x {height}: choose a smaller --size or another policy"
        )
    top = _below(uniforms[1], height + 2 * PAD - size + 1) - PAD
    left = _below(uniforms[2], width + 2 * PAD - size + 1) - PAD
    return View(top, left, size, size, uniforms[0] < 0.5)


def _resize_center(size: int, crop: float, height: int, width: int) -> View:
    """The whole image, or the central part of one so long that it would have more than MAX_PIXELS
    pixels after the resize (more than 1,365 times as long as wide at 224 px)."""
    side = min(height, width)
    resized = shorter_side(size, crop)
    longest = side if sees_whole(size, crop) else MAX_PIXELS * side // resized**2
    h, w = min(height, longest), min(width, longest)
    return View((height - h) // 2, (width - w) // 2, h, w, False, resize_first=True)


def _center(size: int, height: int, width: int) -> View:
    side = min(height, width)
    if not sees_whole(size, CENTER):
        side = round(side * CENTER)
    return View((height - side) // 2, (width - side) // 2, side, side, False)


def _below(uniform: float, bound: int) -> int:
    """An integer in 0..bound-1, uniform to within rounding: bounds are far below 2**53."""
    return int(uniform * bound)
