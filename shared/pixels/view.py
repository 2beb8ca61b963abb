"""A view is a crop box and a flip: all that stands between an image and the pixels a network sees.

`draw_view` (policy.py) chooses one, `apply` turns encoded bytes into its pixels. Precompute and
training both use this `apply`, so that a student sees exactly what its teacher saw.

Most policies crop first and resize the box to the network's size. `resize-center`, the one of the
val split, resizes first, because published accuracies are stated for torchvision's transform:
Resize(256) and CenterCrop(224) for a network of 224 px, whose pixels it has bit for bit. A box of
whole source pixels cannot have them, since the crop's edges fall between source pixels: `center`,
which takes such a box, differs by 4 levels of 255 on average. It stays for the caches that hold it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2.functional import center_crop, resize

from shared.errors import InputError
from shared.pixels.decode import MAX_PIXELS, decode, decode_rows

INTERPOLATION = "bilinear"
ANTIALIAS = True
WHOLE = 64  # pixels: networks of at most this size see the whole central square, as on CIFAR
CENTER = 224 / 256  # share of the shorter side: Resize(256), CenterCrop(224)


@dataclass(frozen=True, slots=True)
class View:
    """Rows top..top+height and columns left..left+width of the source, then a horizontal flip.

    Half-open, in source pixels. The box may reach outside the image: pixels there are mirrored at
    the edge, without repeating it. The box is resized to the size of what the network sees, or with
    `resize_first` until its shorter side is `shorter_side(size)`, and the central square of that
    size is cut from it.

    Caches store box and flip; `resize_first` follows from the manifest's policy (`stored_view`).
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool
    resize_first: bool = False


def stored_view(policy: str, box: Sequence[int], flip: bool) -> View:
    """The view whose `box` (top, left, height, width) and `flip` a cache of `policy` stores."""
    top, left, height, width = box
    return View(top, left, height, width, flip, resize_first=policy == "resize-center")


def shorter_side(size: int) -> int:
    """Pixels to which an image's shorter side is resized before a square of `size` is cut: 256 for
    224, and none more than `size` where the network sees the whole central square."""
    return size if size <= WHOLE else round(size / CENTER)


def apply(view: View, data: bytes, size: int) -> torch.Tensor:
    """The pixels of a view of an encoded image: uint8 (3, size, size), RGB.

    Channels lie last in memory, as in `new_batch`.

    Raises: BadImage if the bytes do not decode, InputError for a box that no policy draws.
    """
    if min(view.height, view.width) < 1 or _most_pixels(view, size) > MAX_PIXELS:
        raise InputError(
            f"the box of a view is {view.height} x {view.width}, and it must have 1 to "
            f"{MAX_PIXELS:,} pixels, also when resized: the cache that says so is damaged; make it "
            f"again with precompute/run.py"
        )
    if view.top < 0:  # rows from anywhere may be mirrored into the box
        return apply_to_image(view, decode(data), size)
    return apply_to_image(view, decode_rows(data, view.top + view.height), size)


def apply_to_image(view: View, image: npt.NDArray[np.uint8], size: int) -> torch.Tensor:
    """The same for decoded pixels (H, W, 3): crop, antialiased bilinear resize, flip.

    Inside the image this equals torchvision's v2 `resized_crop` and `horizontal_flip`, bit for bit;
    with `resize_first`, of the box, its v2 `resize` and `center_crop`.
    The result shares no memory with the image.
    """
    rows = slice(view.top, view.top + view.height)
    columns = slice(view.left, view.left + view.width)
    if min(rows.start, columns.start) >= 0 and (
        rows.stop <= image.shape[0] and columns.stop <= image.shape[1]
    ):
        box = image[rows, columns].copy()  # the image may be read-only, which torch cannot take
    else:
        box = image[np.ix_(_mirrored(rows, image.shape[0]), _mirrored(columns, image.shape[1]))]
    # Channels stay last in memory: same pixels as torchvision's planes, resized in half the time.
    pixels = torch.from_numpy(box).permute(2, 0, 1)  # (3, height, width)
    if view.resize_first:
        pixels = resize(pixels, [shorter_side(size)], antialias=ANTIALIAS)
        pixels = center_crop(pixels, [size, size]).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    elif pixels.shape[1:] != (size, size):
        pixels = resize(pixels, [size, size], antialias=ANTIALIAS)  # bilinear is its default
    return pixels.flip(-1) if view.flip else pixels


def new_batch(rows: int, size: int) -> torch.Tensor:
    """(rows, 3, size, size) uint8 zeros, channels last in memory: as a decoder writes an image and
    as convolutions are fastest to read it, on CPUs and GPUs. No layer has to turn pixels round."""
    shape = (rows, 3, size, size)
    return torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last).zero_()


def _most_pixels(view: View, size: int) -> int:
    """Of the box before and after its resize. No side is below 1."""
    most = view.height * view.width
    if view.resize_first:
        short, long = sorted((view.height, view.width))
        most = max(most, shorter_side(size) ** 2 * long // short)
    return most


def _mirrored(box: slice, length: int) -> npt.NDArray[np.intp]:
    """The box's indices folded into 0..length-1 as numpy's pad mode "reflect" does: 2 1 0 1 2."""
    period = max(2 * (length - 1), 1)
    folded = np.arange(box.start, box.stop) % period
    return np.minimum(folded, period - folded) if length > 1 else folded
