"""Mixes a view with the same view of another image, the *partner*: MixUp and CutMix.

    mixup    every pixel is share * own + (1 - share) * partner's. Zhang et al., arXiv 1710.09412
    cutmix   the pixels of one rectangle are the partner's. Yun et al., arXiv 1905.04899

The label mixes likewise: the sample's own counts with weight `share`, the partner's with the rest.
Both papers mix the samples of a batch. Here the partner is any other sample of the split, a pure
function of (seed, view number, sample index, number of samples), so that a view does not depend on
batches. The partner's view is not mixed itself. If the partner does not decode, or is too small for
the policy, then the view stays unmixed. This is a property of the data, as for skipped images.

Shares are multiples of 1/256 (MixUp) or of one pixel's area (CutMix), and pixels are blended in
integers, so that nothing depends on the last bits of floating-point functions.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from shared.pixels.augmentation import Augmentation
from shared.pixels.words import below, purpose, words

PURPOSE = purpose("mix")
LEVELS = 256  # steps of a drawn share
_QUANTILES = 4096
_GRID = 1 << 16


@dataclass(frozen=True)
class Mix:
    partner: int  # sample index
    share: float  # of the sample itself, in its pixels and in its label
    box: tuple[int, int, int, int] | None  # of CutMix: top, left, bottom, right; None: MixUp


def draw_mix(
    how: Augmentation, seed: int, number: int, index: int, samples: int, size: int
) -> Mix | None:
    """How view `number` of sample `index` of `samples` is mixed; None if it is not.

    `size` is the side of the view in pixels.
    """
    if not how.mixes or samples < 2:
        return None
    which, who, quantile, row, column = words(seed, PURPOSE, number, index, 5).tolist()
    cuts = how.mixup is None or (how.cutmix is not None and below(which, 2) == 1)
    alpha = how.cutmix if cuts else how.mixup
    assert alpha is not None
    level = _levels(alpha)[below(quantile, _QUANTILES)]
    partner = (index + 1 + below(who, samples - 1)) % samples
    if not cuts:
        return None if level == LEVELS else Mix(partner, level / LEVELS, None)
    box = _cut(level, below(row, size), below(column, size), size)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return None if area == 0 else Mix(partner, (size**2 - area) / size**2, box)


def mixed(mix: Mix, own: Tensor, partner: Tensor) -> Tensor:
    """(3, S, S) uint8 from the pixels of both views, of the same shape."""
    if mix.box is not None:
        top, left, bottom, right = mix.box
        pixels = own.clone()
        pixels[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
        return pixels
    level = round(mix.share * LEVELS)
    total = own.to(torch.int32) * level + partner.to(torch.int32) * (LEVELS - level)
    return ((total + LEVELS // 2) >> 8).to(torch.uint8)


def _cut(level: int, row: int, column: int, size: int) -> tuple[int, int, int, int]:
    """torchvision's rectangle around (row, column), clipped: 1 - level / LEVELS of the area."""
    half = int(0.5 * math.sqrt((LEVELS - level) / LEVELS) * size)
    return (
        max(row - half, 0),
        max(column - half, 0),
        min(row + half, size),
        min(column + half, size),
    )


@lru_cache(maxsize=8)
def _levels(alpha: float) -> tuple[int, ...]:
    """Quantiles of Beta(alpha, alpha) at (k + 1/2) / _QUANTILES, in steps of 1 / LEVELS.

    With x = t^(1/alpha) the integral of x^(alpha-1) (1-x)^(alpha-1) becomes that of
    (1 - t^(1/alpha))^(alpha-1) / alpha, which is bounded for x <= 1/2. The other half follows by
    symmetry, and half of the whole integral lies below x = 1/2.
    """
    t = np.linspace(0, 0.5**alpha, _GRID)
    heights = (1 - t ** (1 / alpha)) ** (alpha - 1)
    sums = np.concatenate([[0.0], np.cumsum(heights[1:] + heights[:-1])])
    wanted = (np.arange(_QUANTILES // 2) + 0.5) / _QUANTILES
    x = np.interp(wanted, 0.5 * sums / sums[-1], t) ** (1 / alpha)
    lower = np.rint(LEVELS * x).astype(int).tolist()
    return (*lower, *(LEVELS - level for level in reversed(lower)))
