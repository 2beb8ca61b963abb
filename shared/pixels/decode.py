"""Encoded image bytes -> RGB pixels, or one error that says in a line why not.

The pixels are those of torchvision's ImageFolder, `Image.open(...).convert("RGB")`: the first
frame, grey and palette images spread to three channels, alpha dropped, CMYK converted by Pillow.
EXIF orientation is ignored, as it is there: what the sensor wrote is what the network sees.

JPEGs are decoded by simplejpeg, everything else, and every JPEG that simplejpeg will not take, by
Pillow. Both carry libjpeg-turbo and leave its defaults alone (accurate DCT, smooth upsampling), as
torchvision, PyTurboJPEG and nvimgcodec can: their pixels are equal, bit for bit. So DECODER names
the family, not the package. A library outside it, or one that changes its mind, is caught by the
pixel checksums in the manifest.

Only FORMATS are taken, by what the bytes are and not by the name: Pillow knows forty more, among
them EPS, for which it starts Ghostscript.

What counts as damage. Pillow shows a JPEG whose code ends too early as half a grey image, and a PNG
with too few rows as half a black one. Here no pixel is made up: a file for which libjpeg says that
it had to do so, or of which complete.py finds a part missing, is a BadImage. Bytes left over
after the last row are not damage (Pillow and torchvision take such files, and real collections have
them). A JPEG has no checksum: flipped bits that still read as some code give the pixels that every
other decoder gives.

`decode` judges the whole file; `decode_rows` its start, through the rows that are needed, and that
there is an end. So it takes what `decode` takes, with equal pixels, and beyond that only a file
whose damage lies further down. The verdict depends on the bytes and the box alone: a view that is
replayed is judged as when it was drawn.

Memory: no more than 16 bytes a pixel, 1.4 GB at MAX_PIXELS; 3 for most JPEGs.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.errors import BadImage
from shared.pixels.complete import missing_part, missing_tiles
from shared.pixels.region import CONTEXT, Header, cut_below, read_header

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow's names
DECODER = "libjpeg-turbo"  # named in every manifest: another family gives other pixels

# Where Pillow starts to warn: a quarter GiB of RGB. Anything larger counts as decompression bomb.
MAX_PIXELS = 89_478_485
MAX_SCANS = 100  # of a progressive JPEG, each a pass over all pixels; encoders write about 10
SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")  # its header, of 1-4 components

MAX_READS = 200_000  # by Pillow, of one file; a sound one of 256 MB takes some 10,000

# libjpeg tells of the first trouble only: this one comes after the last row.
LEFT_OVER = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9")


def decode(data: bytes) -> NDArray[np.uint8]:
    """All pixels of an encoded image.

    Returns: (H, W, 3) uint8 RGB, contiguous, writable, owned by the caller.
    Raises: BadImage for zero bytes, an unknown format, truncated or corrupt data, more than
    MAX_PIXELS pixels.
    """
    header = _read_header(data)
    pixels = None if header is None else _decode_jpeg(data, header)
    return _decode_with_pillow(data) if pixels is None else pixels


def decode_rows(data: bytes, rows: int) -> NDArray[np.uint8]:
    """The top of an image, for a box that ends at row `rows`: decodes no more than is needed.

    Returns: `decode(data)[:n]`, uint8, for some n >= rows; all rows where there are no more.
    Raises: BadImage as `decode` does, but not for damage below the rows that are needed.
    """
    header = _read_header(data)
    pixels = None if header is None else _decode_top(data, header, rows)
    return decode(data) if pixels is None else pixels


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) in pixels, from the header alone: `decode`'s shape if the rest is sound.

    Raises: BadImage for zero bytes, an unknown format, more than MAX_PIXELS pixels.
    """
    if (header := _read_header(data)) is not None:
        return header.height, header.width
    with _opened(data) as image:
        return image.height, image.width


def _read_header(data: bytes) -> Header | None:
    """None for anything but a sound JPEG header."""
    header = read_header(data)
    if header is not None:
        _require_pixels(header.width, header.height)
    return header


def _decode_jpeg(data: bytes, header: Header) -> NDArray[np.uint8] | None:
    """None: Pillow is to decode and to judge."""
    if not header.mcu_height and (scans := data.count(b"\xff\xda", header.scan)) > MAX_SCANS:
        raise BadImage(f"{scans:,} scans are more than {MAX_SCANS}, {len(data):,} bytes")
    cmyk = header.components == 4
    pixels = np.empty((header.height, header.width, 4 if cmyk else 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(data, colorspace="CMYK" if cmyk else "RGB", buffer=pixels)
    except ValueError as error:
        reason = str(error)
        if header.restarts or not LEFT_OVER.fullmatch(reason):
            if reason.startswith("Corrupt JPEG data"):
                raise BadImage(f"{reason}, {len(data):,} bytes") from error
            return None
    return None if cmyk else pixels


def _decode_top(data: bytes, header: Header, rows: int) -> NDArray[np.uint8] | None:
    """None: `decode` is to decode and to judge."""
    if header.components not in (1, 3) or (part := cut_below(data, header, rows)) is None:
        return None
    pixels = np.empty((part.height, header.width, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(part.data, buffer=pixels)
    except ValueError as error:
        if not LEFT_OVER.fullmatch(str(error)):  # what was cut off is left over
            return None
    return pixels[:-CONTEXT]


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    with _opened(data) as image:
        if missing := missing_tiles(image):
            raise BadImage(f"{missing}, {len(data):,} bytes")
        image.load()
        if missing := missing_part(data, image):
            raise BadImage(f"{missing}, {len(data):,} bytes")
        # convert copies even where there is nothing to do.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


class _CountedReads(BytesIO):
    """Pillow walks through headers in Python, some byte by byte: a file made of nothing but header
    would take a minute for each 10 MB."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise BadImage(f"its header has more than {MAX_READS:,} parts")
        return super().read(size)


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
            with Image.open(_CountedReads(data), formats=FORMATS) as image:
                _require_pixels(image.width, image.height)
                _require_scans(data, image)
                yield image
    except (BadImage, MemoryError):  # a machine without memory says nothing about the bytes
        raise
    except UnidentifiedImageError as error:  # its own text holds a memory address
        raise BadImage(f"not an image in a known format, {len(data):,} bytes") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # on corrupt bytes Pillow's plug-ins raise just about anything
        reason = " ".join(str(error).split())
        raise BadImage(f"{type(error).__name__}: {reason}, {len(data):,} bytes") from error


def _require_scans(data: bytes, image: Image.Image) -> None:
    """Of a JPEG with a header that only Pillow reads."""
    if image.format in ("JPEG", "MPO"):
        scans = sum(1 for _ in SCAN.finditer(data))
        if scans > MAX_SCANS:
            raise BadImage(f"{scans:,} scans are more than {MAX_SCANS}, {len(data):,} bytes")


def _require_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
