"""What a pixel loader is asked for, and what it gives: one request, one batch.

A request names samples, and how they are seen: stored boxes to replay, or a policy to draw one view
or several views from. Several views of an image cost one decode. Their batch has the rows of the
first view, then those of the second, and so on:

    samples 7, 3 of views 0, 4    ->    rows  7 of view 0, 3 of view 0, 7 of view 4, 3 of view 4

Every row is the same, bit for bit, whichever other views and samples are in the request.

Shapes: B rows in a batch, images of S x S pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.pixels.view import ViewPolicy


@dataclass(frozen=True)
class Replay:
    """Replays view `number` of each sample, whose box a cache of `policy` and `seed` stores."""

    policy: ViewPolicy | str
    box: NDArray[np.int32]  # (B, 4): top, left, height, width
    flip: NDArray[np.bool_]  # (B,)
    # For a policy that augments:
    seed: int = 0
    number: int = 0
    skipped: frozenset[int] = frozenset()  # samples that the cache leaves out

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.number,)


@dataclass(frozen=True)
class Draw:
    """Draws view `number` of each sample from `policy`, and the views `more` as well."""

    policy: ViewPolicy | str
    seed: int
    number: int
    more: tuple[int, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.number, *self.more)


@dataclass(frozen=True)
class Request:
    source: int  # position among the loader's sources
    index: NDArray[np.int64]  # samples
    views: Replay | Draw

    @property
    def rows(self) -> int:
        """B of the batch."""
        return len(self.index) * len(self.views.numbers)


@dataclass(frozen=True)
class PixelBatch:
    index: Tensor  # (B,) int64 samples
    pixels: Tensor  # (B, 3, S, S) uint8, channels last; zeros where the image is bad
    box: Tensor  # (B, 4) int32: top, left, height, width
    flip: Tensor  # (B,) bool
    images: tuple[bytes, ...]  # B JPEGs that decode to `pixels`; () unless as_jpeg was set
    # (row in the batch, reason) for images that do not decode or are too small for the policy.
    # These are properties of the data, the same in every run; a failing source raises instead.
    bad: tuple[tuple[int, str], ...]
    # Where the policy mixes views, (B,) each: the sample that a view is mixed with, int64, and the
    # weight of the sample itself, float32. A view that is not mixed has itself and 1.
    partner: Tensor | None = None
    share: Tensor | None = None

    def pin_memory(self) -> "PixelBatch":
        """Called by DataLoader's pinning thread."""
        return replace(self, pixels=self.pixels.pin_memory())

    def by_view(self, views: int) -> Iterator["PixelBatch"]:
        """The batch of each of its `views`. They share memory with this one."""
        rows = len(self.index) // views
        for start in range(0, rows * views, rows):
            at = slice(start, start + rows)
            yield PixelBatch(
                self.index[at],
                self.pixels[at],
                self.box[at],
                self.flip[at],
                self.images[at],
                tuple((row - start, why) for row, why in self.bad if start <= row < start + rows),
                None if self.partner is None else self.partner[at],
                None if self.share is None else self.share[at],
            )
