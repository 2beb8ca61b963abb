"""Encoded image bytes -> RGB pixels, or one error that says in a line why not.

The pixels are those of torchvision's ImageFolder, `Image.open(...).convert("RGB")`: the first
frame, grey and palette images spread to three channels, alpha dropped, CMYK converted by Pillow.
EXIF orientation is ignored, as it is there: what the sensor wrote is what the network sees.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

DECODER = "pillow"  # named in every manifest: another decoder may give other pixels

# Where Pillow starts to warn: a quarter GiB of RGB. Anything larger counts as decompression bomb.
MAX_PIXELS = 89_478_485


class BadImage(ValueError):
    """Bytes that do not decode to an image. The message is one line: what is wrong with them."""


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """All pixels of an encoded image.

    Returns: (H, W, 3) uint8 RGB, contiguous, writable, owned by the caller.
    Raises: BadImage for zero bytes, an unknown format, truncated or corrupt data, more than
    MAX_PIXELS pixels.
    """
    with _opened(data) as image:
        return np.array(image.convert("RGB"))


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) in pixels, from the header alone: `decode`'s shape if the rest is sound.

    Raises: BadImage for zero bytes, an unknown format, more than MAX_PIXELS pixels.
    """
    with _opened(data) as image:
        return image.height, image.width


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    if not data:
        raise BadImage("zero bytes")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata or transparency in palettes: the pixels are sound.
            # Only its own warnings are named, so that a filter left behind where two threads
            # cross here hides nothing else.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BadImage(
                        f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels"
                    )
                yield image
    except BadImage:
        raise
    except UnidentifiedImageError as error:  # its own text holds a memory address
        raise BadImage(f"not an image in a known format, {len(data):,} bytes") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # on corrupt bytes Pillow's plug-ins raise just about anything
        reason = " ".join(str(error).split())
        raise BadImage(f"{type(error).__name__}: {reason}, {len(data):,} bytes") from error
