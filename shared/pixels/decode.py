"""Decodes image files to RGB pixels, or raises BadImage with a one-line reason.

The pixels equal those of torchvision's ImageFolder, `Image.open(...).convert("RGB")`: first frame
only, grey and palette images expanded to three channels, alpha dropped, CMYK converted by Pillow,
EXIF orientation ignored.

JPEGs are decoded by simplejpeg. Pillow decodes everything else, and JPEGs that simplejpeg rejects.
Both contain libjpeg-turbo and use its defaults (accurate DCT, smooth upsampling), as torchvision,
PyTurboJPEG and nvimgcodec can: the pixels are equal, bit for bit. So DECODER names the family, not
the package. A library with other pixels is caught by the pixel checksums in the receipts.

Only FORMATS are accepted, recognised by content and not by name: Pillow supports forty more,
including EPS, for which it starts Ghostscript.

Damage: Pillow fills the rest of a truncated JPEG with grey, and that of a PNG with too few rows
with black. Here no pixel is made up: a file for which libjpeg reports such filling, or in which
complete.py finds missing data, is a BadImage. Extra bytes after the last row are not damage (Pillow
and torchvision accept such files, and real data sets contain them). A JPEG has no checksum: flipped
bits that still decode give the same pixels as in every other decoder.

`decode` checks the whole file; `decode_rows` checks the part up to the rows that are needed, and
that the file has an end. So `decode_rows` accepts whatever `decode` accepts, with equal pixels, and
also files that are damaged further down only. The result depends on the bytes and the box alone, so
a replayed view is accepted or rejected as when it was drawn.

Memory: at most 16 bytes per pixel, 1.4 GB at MAX_PIXELS; 3 bytes for most JPEGs.
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
DECODER = "libjpeg-turbo"  # recorded in the manifest: another family gives other pixels

# Pillow's own limit for its warning about decompression bombs: a quarter GiB of RGB.
MAX_PIXELS = 89_478_485
MAX_SCANS = 100  # in a progressive JPEG; each is a pass over all pixels, encoders write about 10
SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")  # SOS with 1-4 components

MAX_READS = 200_000  # by Pillow per file; a valid file of 256 MB takes about 10,000

# libjpeg reports only its first warning. If it is this one, all rows were decoded before it.
LEFT_OVER = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9")


def decode(data: bytes) -> NDArray[np.uint8]:
    """All pixels of an encoded image.

    Returns (H, W, 3) uint8 RGB, contiguous, writable, owned by the caller. Raises BadImage if the
    data are empty, in an unknown format, truncated or corrupt, or have more than MAX_PIXELS pixels.
    """
    header = _read_header(data)
    pixels = None if header is None else _decode_jpeg(data, header)
    return _decode_with_pillow(data) if pixels is None else pixels


def decode_rows(data: bytes, rows: int) -> NDArray[np.uint8]:
    """The top of an image, for a box that ends at row `rows`, without decoding much more.

    Returns `decode(data)[:n]`, uint8, for some n >= rows, or all rows if there are fewer. Raises
    BadImage as `decode` does, but not for damage below the rows that are needed.
    """
    header = _read_header(data)
    pixels = None if header is None else _decode_top(data, header, rows)
    return decode(data) if pixels is None else pixels


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) in pixels, from the header alone: the shape that `decode` would give.

    Raises BadImage for zero bytes, an unknown format or more than MAX_PIXELS pixels.
    """
    if (header := _read_header(data)) is not None:
        return header.height, header.width
    with _opened(data) as image:
        return image.height, image.width


def _read_header(data: bytes) -> Header | None:
    """None unless the data have a valid JPEG header. Raises BadImage for too many pixels."""
    header = read_header(data)
    if header is not None:
        _require_pixels(header.width, header.height)
    return header


def _decode_jpeg(data: bytes, header: Header) -> NDArray[np.uint8] | None:
    """The pixels, or None if Pillow must decode the file and decide whether it is bad."""
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
    """The top rows, or None if `decode` must decode the file and decide whether it is bad."""
    if header.components not in (1, 3) or (part := cut_below(data, header, rows)) is None:
        return None
    pixels = np.empty((part.height, header.width, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(part.data, buffer=pixels)
    except ValueError as error:
        if not LEFT_OVER.fullmatch(str(error)):  # the rows cut off are left over
            return None
    return pixels[:-CONTEXT]


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    with _opened(data) as image:
        if missing := missing_tiles(image):
            raise BadImage(f"{missing}, {len(data):,} bytes")
        image.load()
        if missing := missing_part(data, image):
            raise BadImage(f"{missing}, {len(data):,} bytes")
        # `convert` copies even if the image is RGB already.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


class _CountedReads(BytesIO):
    """Limits the number of reads. Pillow parses headers in Python, some byte by byte, so a file
    that is all header would take a minute per 10 MB."""

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
            # Pillow warns about damaged metadata and transparency in palettes, which do not affect
            # the pixels. The filter names Pillow's warnings only, because catch_warnings is not
            # thread-safe and may leave it behind.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(_CountedReads(data), formats=FORMATS) as image:
                _require_pixels(image.width, image.height)
                _require_scans(data, image)
                yield image
    except (BadImage, MemoryError):  # MemoryError says nothing about the image
        raise
    except UnidentifiedImageError as error:  # its message has a memory address
        raise BadImage(f"not an image in a known format, {len(data):,} bytes") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow's plug-ins may raise anything for corrupt data
        reason = " ".join(str(error).split())
        raise BadImage(f"{type(error).__name__}: {reason}, {len(data):,} bytes") from error


def _require_scans(data: bytes, image: Image.Image) -> None:
    """Limits the scans of a JPEG whose header only Pillow can read."""
    if image.format in ("JPEG", "MPO"):
        scans = sum(1 for _ in SCAN.finditer(data))
        if scans > MAX_SCANS:
            raise BadImage(f"{scans:,} scans are more than {MAX_SCANS}, {len(data):,} bytes")


def _require_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
