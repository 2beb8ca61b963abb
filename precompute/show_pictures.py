"""Pictures of samples: the source with the box of a view on it, the view, thumbnails.

All have a bounded size, so that a page of them has one too.
"""

import io

import numpy as np
from PIL import Image, ImageDraw

from precompute.shown_samples import Pixels, Sample
from shared.pixels.view import View, shorter_side

SOURCE = 208  # pixels: the longest side of a source on the page
VIEW = 224  # likewise of a view, which is shown as it is up to this size
THUMBNAIL = 160
SMALL = 100  # shorter pictures grow by a whole factor, so that each pixel is seen
MARGIN = (128, 128, 128)  # where a box reaches outside the image, pixels are mirrored


def source_with_box(sample: Sample, size: int) -> Image.Image | None:
    """The source picture, with a frame around what the view shows. `size`: pixels of the view."""
    if sample.source is None:
        return None
    height, width = sample.source.shape[:2]
    top, left, bottom, right = seen_part(sample.box, size)
    # Where the box reaches outside, the picture gets a margin.
    outside = max(0, -top, -left, bottom - height, right - width)
    edge = int(np.ceil(outside))
    padded = np.full((height + 2 * edge, width + 2 * edge, 3), MARGIN, np.uint8)
    padded[edge : edge + height, edge : edge + width] = sample.source
    picture, scale = resized(padded, SOURCE)
    corners = [scale * (at + edge) for at in (left, top, right, bottom)]
    x0, y0, x1, y1 = (round(at) for at in corners)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=(0, 0, 0), width=4)
    draw.rectangle((x0 + 1, y0 + 1, x1 - 2, y1 - 2), outline=(255, 214, 10), width=2)
    return picture


def seen_part(view: View, size: int) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of what the network sees, in source pixels.

    With `resize_first` that is the central square of the box."""
    if not view.resize_first:
        return view.top, view.left, view.top + view.height, view.left + view.width
    side = min(view.height, view.width) * size / shorter_side(size, view.crop)
    top, left = view.top + (view.height - side) / 2, view.left + (view.width - side) / 2
    return top, left, top + side, left + side


def resized(pixels: Pixels, longest: int = VIEW) -> tuple[Image.Image, float]:
    """The picture at a size for a page, and by what it was scaled.

    Small ones grow by a whole factor without blending pixels."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    length = max(picture.size)
    if length > longest:
        scale = longest / length
        shape = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
        return picture.resize(shape, Image.Resampling.LANCZOS), scale
    factor = max(1, longest * 4 // 5 // length) if length <= SMALL else 1
    shape = (factor * picture.width, factor * picture.height)
    return picture.resize(shape, Image.Resampling.NEAREST), factor


def encoded(picture: Image.Image) -> bytes:
    """JPEG, or PNG where that is smaller, as it is for a few large pixels."""
    data = []
    for form, options in (("JPEG", {"quality": 90, "subsampling": 0}), ("PNG", {})):
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        data.append(buffer.getvalue())
    return min(data, key=len)
