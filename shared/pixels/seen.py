"""The pixels of a view as the networks see them: the box of the image, augmented and mixed.

    encoded bytes -> box, resize, flip (view.py) -> augment.py -> with those of a partner: mix.py

`draw` chooses the box and is used by precompute. `replay` takes a stored box and is used by
training and by checks of a cache. Both draw all other parameters in the same way, so that they give
the same pixels.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import BadImage
from shared.pixels.augment import augmented
from shared.pixels.decode import decode, image_size
from shared.pixels.mix import Mix, draw_mix, mixed
from shared.pixels.policy import TooSmall, draw_view
from shared.pixels.view import View, ViewPolicy, apply, apply_to_image, as_policy


@dataclass(frozen=True)
class Seen:
    pixels: Tensor  # (3, S, S) uint8
    view: View  # of the sample itself
    mix: Mix | None  # None: the pixels are of this sample alone


class Views:
    """The views of one number, of all samples of a source."""

    def __init__(
        self,
        policy: ViewPolicy | str,
        size: int,
        seed: int,
        number: int,
        read: Callable[[int], bytes],
        samples: int,
    ) -> None:
        """`read` returns the encoded image of a sample; there are `samples` of them."""
        self._policy = as_policy(policy)
        self._size = size
        self._seed = seed
        self._number = number
        self._read = read
        self._samples = samples

    @property
    def mixes(self) -> bool:
        return self._policy.mixes

    def draw(self, index: int) -> Seen:
        """Raises BadImage or TooSmall if the sample has no views.

        Decodes the whole file, so that whether an image is bad does not depend on the view: an
        image that precompute skips is skipped in every view.
        """
        return self.draw_from(index, decode(self._read(index)))

    def draw_from(self, index: int, image: NDArray[np.uint8]) -> Seen:
        """The same for a decoded image (H, W, 3), from which views of other numbers may be drawn as
        well. Raises TooSmall."""
        view, pixels = self._drawn(index, image)
        return self._mixed(index, view, pixels, None)

    def replay(self, index: int, view: View, skipped: Collection[int] | None) -> Seen:
        """The view whose box is stored in a cache.

        `skipped` are the samples that the cache leaves out, with which no view is mixed. None if
        they are not known: a view is then mixed unless its partner cannot be used, as in `draw`.
        Raises BadImage if the image does not decode, or if its partner does not and is not skipped.
        """
        pixels = self._augmented(index, apply(view, self._read(index), self._size))
        return self._mixed(index, view, pixels, skipped)

    def mix_of(self, index: int) -> Mix | None:
        """How the view is mixed, unless its partner cannot be used."""
        how = self._policy.augmentation
        if how is None:
            return None
        return draw_mix(how, self._seed, self._number, index, self._samples, self._size)

    def _mixed(
        self, index: int, view: View, pixels: Tensor, skipped: Collection[int] | None
    ) -> Seen:
        mix = self.mix_of(index)
        if mix is None or (skipped is not None and mix.partner in skipped):
            return Seen(pixels, view, None)
        if skipped is None:
            try:
                _, theirs = self._drawn(mix.partner, decode(self._read(mix.partner)))
            except (BadImage, TooSmall):
                return Seen(pixels, view, None)
        else:
            theirs = self._replayed_partner(mix.partner)
        return Seen(mixed(mix, pixels, theirs), view, mix)

    def _drawn(self, index: int, image: NDArray[np.uint8]) -> tuple[View, Tensor]:
        view = self._view(index, *image.shape[:2])
        return view, self._augmented(index, apply_to_image(view, image, self._size))

    def _replayed_partner(self, index: int) -> Tensor:
        data = self._read(index)
        try:
            view = self._view(index, *image_size(data))
            pixels = apply(view, data, self._size)
        except (BadImage, TooSmall) as error:
            raise BadImage(f"sample {index}, with which it is mixed: {error}") from error
        return self._augmented(index, pixels)

    def _view(self, index: int, height: int, width: int) -> View:
        return draw_view(self._policy, self._size, self._seed, self._number, index, height, width)

    def _augmented(self, index: int, pixels: Tensor) -> Tensor:
        how = self._policy.augmentation
        if how is None:
            return pixels
        return augmented(how, pixels, self._seed, self._number, index)
