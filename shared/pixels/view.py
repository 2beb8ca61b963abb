"""Views: the crop box and flip that determine which pixels of an image the network sees.

`draw_view` (policy.py) chooses a view, and `apply` turns encoded bytes into its pixels. Precompute
and training use the same `apply`, so that a student sees exactly what its teacher saw.

Most policies crop first and then resize the box to the network's size. `resize-center`, used for
the val split, resizes first, because published accuracies are for torchvision's Resize(256) and
CenterCrop(224) for a network of 224 px. Its pixels equal torchvision's bit for bit. A box of whole
source pixels cannot give them, because the edges of that crop fall between source pixels: `center`,
which uses such a box, differs by 4 levels of 255 on average. It remains for caches made with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from shared.errors import InputError
from shared.pixels.augmentation import Augmentation
from shared.pixels.decode import MAX_PIXELS, decode, decode_rows

INTERPOLATION = "bilinear"
ANTIALIAS = True
WHOLE = 64  # pixels: up to this size the network sees the whole central square, as on CIFAR
CENTER = 224 / 256  # share of the shorter side that is kept: Resize(256), CenterCrop(224)


@dataclass(frozen=True)
class ViewPolicy:
    """How views are drawn, and how their boxes become pixels."""

    name: str  # one of shared.choices.POLICIES
    interpolation: str = INTERPOLATION
    crop: float = CENTER  # see `shorter_side`; only "resize-center" uses it
    augmentation: Augmentation | None = None  # what else is done to the pixels (seen.py)

    def __str__(self) -> str:
        return self.name if self.augmentation is None else f"{self.name}, {self.augmentation}"

    @property
    def mixes(self) -> bool:
        """Whether views are mixed of two images, and have two labels."""
        return self.augmentation is not None and self.augmentation.mixes


def as_policy(policy: ViewPolicy | str) -> ViewPolicy:
    """A name alone means the usual interpolation and crop."""
    return ViewPolicy(policy) if isinstance(policy, str) else policy


@dataclass(frozen=True, slots=True)
class View:
    """Rows top..top+height and columns left..left+width of the source, then a horizontal flip.

    The ranges are half-open, in source pixels. Where the box reaches outside the image, pixels are
    mirrored at the edge without repeating it. The box is resized to the network's input size; with
    `resize_first` it is instead resized until its shorter side is `shorter_side(size)`, and the
    central square of the input size is cut from it.

    Caches store box and flip; `resize_first` follows from the manifest's policy (`stored_view`).
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool
    resize_first: bool = False
    interpolation: str = INTERPOLATION
    crop: float = CENTER  # with `resize_first`: the size as a share of the resized shorter side


def stored_view(policy: ViewPolicy | str, box: Sequence[int], flip: bool) -> View:
    """The view of `box` (top, left, height, width) and `flip`, as a cache of `policy` stores it."""
    top, left, height, width = box
    how = as_policy(policy)
    first = how.name == "resize-center"
    return View(top, left, height, width, flip, first, how.interpolation, how.crop)


def sees_whole(size: int, crop: float) -> bool:
    """Whether a network sees the whole central square: small ones, of CIFAR, without a `crop` of
    their own."""
    return size <= WHOLE and crop == CENTER


def shorter_side(size: int, crop: float = CENTER) -> int:
    """The length in pixels to which an image's shorter side is resized before a square of `size` is
    cut: 256 for 224 and the usual `crop`."""
    return size if sees_whole(size, crop) else round(size / crop)


def apply(view: View, data: bytes, size: int) -> torch.Tensor:
    """The pixels of a view of an encoded image: (3, size, size) uint8 RGB, channels last in memory.

    Raises BadImage if the bytes do not decode, InputError for a box that no policy can draw.
    """
    if min(view.height, view.width) < 1 or _most_pixels(view, size) > MAX_PIXELS:
        raise InputError(
            f"the box of a view is {view.height} x {view.width}, and it must have 1 to "
            f"{MAX_PIXELS:,} pixels, also when resized: the cache that says so is damaged; make it "
            f"again with precompute/run.py"
        )
    if view.top < 0:  # mirroring may need any row
        return apply_to_image(view, decode(data), size)
    return apply_to_image(view, decode_rows(data, view.top + view.height), size)


def apply_to_image(view: View, image: npt.NDArray[np.uint8], size: int) -> torch.Tensor:
    """The same for decoded pixels (H, W, 3): crop, antialiased bilinear resize, flip.

    For a box inside the image this equals torchvision's v2 `resized_crop` and `horizontal_flip`,
    bit for bit; with `resize_first`, v2 `resize` and `center_crop` of the box. The result shares no
    memory with the image.
    """
    rows = slice(view.top, view.top + view.height)
    columns = slice(view.left, view.left + view.width)
    if min(rows.start, columns.start) >= 0 and (
        rows.stop <= image.shape[0] and columns.stop <= image.shape[1]
    ):
        box = image[rows, columns].copy()  # torch does not accept a read-only array
    else:
        box = image[np.ix_(_mirrored(rows, image.shape[0]), _mirrored(columns, image.shape[1]))]
    # Keep channels last in memory: the same pixels as in planar layout, resized in half the time.
    pixels = torch.from_numpy(box).permute(2, 0, 1)  # (3, height, width)
    mode = InterpolationMode(view.interpolation)
    if view.resize_first:
        pixels = resize(pixels, [shorter_side(size, view.crop)], mode, antialias=ANTIALIAS)
        pixels = center_crop(pixels, [size, size]).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    elif pixels.shape[1:] != (size, size):
        pixels = resize(pixels, [size, size], mode, antialias=ANTIALIAS)
    return pixels.flip(-1) if view.flip else pixels


def new_batch(rows: int, size: int) -> torch.Tensor:
    """(rows, 3, size, size) uint8 zeros, channels last in memory: decoders write this layout and
    convolutions read it fastest, on CPUs and GPUs, so that no copy to another layout is needed."""
    shape = (rows, 3, size, size)
    return torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last).zero_()


def _most_pixels(view: View, size: int) -> int:
    """Pixels of the box before or after its resize, whichever are more. Sides must be >= 1."""
    most = view.height * view.width
    if view.resize_first:
        short, long = sorted((view.height, view.width))
        most = max(most, shorter_side(size, view.crop) ** 2 * long // short)
    return most


def _mirrored(box: slice, length: int) -> npt.NDArray[np.intp]:
    """The indices of `box` folded into 0..length-1, as in NumPy's pad mode "reflect": 2 1 0 1 2."""
    period = max(2 * (length - 1), 1)
    folded = np.arange(box.start, box.stop) % period
    return np.minimum(folded, period - folded) if length > 1 else folded
