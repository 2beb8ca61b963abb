"""A view is a crop box and a flip: all that stands between an image and the pixels a network sees.

`draw_view` chooses one, `apply` turns encoded bytes into its pixels. Precompute and training both
use this `apply`, so that a student sees exactly what its teacher saw.

Most policies crop first and resize the box to the network's size. `resize-center`, the one of the
val split, resizes first, because published accuracies are stated for torchvision's transform:
Resize(256) and CenterCrop(224) for a network of 224 px, whose pixels it has bit for bit. A box of
whole source pixels cannot have them, since the crop's edges fall between source pixels: `center`,
which takes such a box, differs by 4 levels of 255 on average. It stays for the caches that hold it.

A view is a pure function of (policy, size, seed, view number, sample index, image shape). The
counter-based generator Philox starts from key (seed, PURPOSE) and counter (0, 0, number, index),
each in a 64-bit word of its own, never added: no two views share their random words, and order,
workers and restarts do not matter. Every draw takes the same number of words, each with one
meaning. Only raw words are used: NumPy promises those for ever (NEP 19), but not what its Generator
makes of them. `exp` and `log` may differ in the last bit between machines, which is one reason why
caches store the box as well as the seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2.functional import center_crop, resize

from shared.choices import POLICIES
from shared.errors import InputError
from shared.pixels.decode import MAX_PIXELS, decode, decode_rows

INTERPOLATION = "bilinear"
ANTIALIAS = True

# torchvision's RandomResizedCrop with its defaults, those of every ImageNet recipe
SCALE = (0.08, 1.0)  # share of the image's area
RATIO = (3 / 4, 4 / 3)  # width / height
ATTEMPTS = 10
PAD = 4  # pixels: the usual CIFAR augmentation
CENTER = 224 / 256  # share of the shorter side: Resize(256), CenterCrop(224)
WHOLE = 64  # pixels: networks of at most this size see the whole central square, as on CIFAR

PURPOSE = int.from_bytes(b"view", "big")
WORDS = 1 + 4 * ATTEMPTS  # flip, then (area, ratio, top, left) for each attempt


class TooSmall(InputError):
    """An image too small for the policy: a fact about the image, as one that does not decode."""


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


def draw_view(
    policy: str, size: int, seed: int, number: int, index: int, height: int, width: int
) -> View:
    """View `number` of sample `index` (in source order) for an image of height x width pixels.

    `size` is the side in pixels of what the network sees; number, index >= 0.
    Raises: InputError for an unknown policy or a seed outside 0..2**64-1, TooSmall for an image
    that `pad-crop` cannot take.
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed must be at least 0 and below 2**64, got {seed}")
    if policy == "random-resized-crop":
        return _random_resized_crop(_uniforms(seed, number, index), height, width)
    if policy == "pad-crop":
        return _pad_crop(_uniforms(seed, number, index), size, height, width)
    if policy == "resize-center":
        return _resize_center(size, height, width)
    if policy == "center":
        return _center(size, height, width)
    raise InputError(f"--policy must be one of {', '.join(POLICIES)}, got {policy!r}")


def apply(view: View, data: bytes, size: int) -> torch.Tensor:
    """The pixels of a view of an encoded image: uint8 (3, size, size), RGB.

    Channels lie last in memory, as in `new_batch`.

    Raises: BadImage if the bytes do not decode, InputError for a box that no policy draws.
    """
    if min(view.height, view.width) < 1 or _most_pixels(view, size) > MAX_PIXELS:
        raise InputError(
            f"a view is a box of 1 to {MAX_PIXELS:,} pixels, also when resized: got {view.height} "
            f"x {view.width}; the cache that says so is damaged: make it again with "
            f"precompute/run.py"
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


def _uniforms(seed: int, number: int, index: int) -> list[float]:
    """WORDS numbers in [0, 1), multiples of 2**-53."""
    # Arrays, because NumPy takes a list with integers from 2**63 up through float64 and loses them.
    # Philox counts its blocks of four words in counter word 0: the streams of two (number, index)
    # are at least 2**128 blocks apart.
    key = np.array([seed, PURPOSE], dtype=np.uint64)
    counter = np.array([0, 0, number, index], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(WORDS)
    uniforms: list[float] = ((words >> 11) * 2.0**-53).tolist()
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
    # No box fitted, as in a panorama: the largest central one of an allowed ratio.
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


def _resize_center(size: int, height: int, width: int) -> View:
    """The whole image; of one so long that it would have more than MAX_PIXELS when it is resized
    (1,365 times as long as wide at 224 px), the central part that has not."""
    side = min(height, width)
    longest = side if size <= WHOLE else MAX_PIXELS * side // shorter_side(size) ** 2
    h, w = min(height, longest), min(width, longest)
    return View((height - h) // 2, (width - w) // 2, h, w, False, resize_first=True)


def _most_pixels(view: View, size: int) -> int:
    """Of the box before and after its resize. No side is below 1."""
    most = view.height * view.width
    if view.resize_first:
        short, long = sorted((view.height, view.width))
        most = max(most, shorter_side(size) ** 2 * long // short)
    return most


def _center(size: int, height: int, width: int) -> View:
    side = min(height, width)
    if size > WHOLE:
        side = round(side * CENTER)
    return View((height - side) // 2, (width - side) // 2, side, side, False)


def _below(uniform: float, bound: int) -> int:
    """An integer in 0..bound-1; bounds here are far below 2**53, so that every one is as likely."""
    return int(uniform * bound)


def _mirrored(box: slice, length: int) -> npt.NDArray[np.intp]:
    """The box's indices folded into 0..length-1 as numpy's pad mode "reflect" does: 2 1 0 1 2."""
    period = max(2 * (length - 1), 1)
    folded = np.arange(box.start, box.stop) % period
    return np.minimum(folded, period - folded) if length > 1 else folded
