"""Detects missing image data that Pillow silently fills with black, in PNG and TIFF files.

A PNG's rows are one zlib stream. If the stream ends cleanly after a whole row, Pillow leaves the
rows below black without an error. Here the stream is inflated again, in small pieces that are
discarded, and its bytes are counted. Pillow itself reports a damaged or cut-off stream.

An uncompressed TIFF is a list of strips or tiles. If the list is too short, Pillow leaves the rest
black. Compressed TIFFs are read by libtiff, which asks for every strip.

For the other formats in decode.FORMATS Pillow raises (tests/test_complete.py).
"""

import struct
import zlib
from typing import Any

from PIL import Image

PIECE = 1 << 18  # bytes
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type
# An interlaced PNG consists of seven images: first column, first row, and the steps of each
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # fmt: skip
START = 8  # bytes before a PNG's first chunk: length 4, type 4, data, checksum 4


def missing_part(data: bytes, image: Image.Image) -> str | None:
    """What is missing from an image that was loaded from `data`; None if it is complete."""
    if image.format == "PNG":
        return _missing_in_png(data)
    return None


def missing_tiles(image: Image.Image) -> str | None:
    """The same for a TIFF that is open but not loaded yet."""
    tiles: Any = getattr(image, "tile", ())
    if image.format != "TIFF" or not tiles or tiles[0][0] != "raw":
        return None
    tags: Any = getattr(image, "tag_v2", {})
    planes = tags.get(277, 1) if tags.get(284) == 2 else 1  # planar: one plane per channel
    wanted = image.width * image.height * planes
    found = 0
    for _, (left, top, right, bottom), *_ in tiles:
        found += max(0, min(right, image.width) - left) * max(0, min(bottom, image.height) - top)
    return f"its strips hold {found:,} of {wanted:,} pixels" if found < wanted else None


def _missing_in_png(data: bytes) -> str | None:
    """Reads chunks as Pillow does: the last IHDR before the data counts, then consecutive IDATs."""
    place, wanted, found = START, 0, 0
    unpacker = zlib.decompressobj()
    started = False
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, place = data[place + 4 : place + 8], place + 8
        if kind == b"IHDR" and length >= 13:
            wanted = _png_bytes(*struct.unpack_from(">IIBBBBB", data, place))
        elif kind == b"IDAT":
            started = True
            piece = data[place : place + length]
            while found < wanted and piece and not unpacker.eof:
                try:
                    found += len(unpacker.decompress(piece, PIECE))
                except zlib.error:
                    return None  # after the last row, or Pillow would have raised
                piece = unpacker.unconsumed_tail
        elif started:
            break
        if found >= wanted and started:
            return None
        place += length + 4
    return f"PNG data end after {found:,} of {wanted:,} bytes" if unpacker.eof else None


def _png_bytes(
    width: int,
    height: int,
    depth: int,
    colour: int,
    _compression: int,
    _filter: int,
    interlace: int,
) -> int:
    """Bytes in all rows of a PNG, including each row's filter byte."""
    bits = depth * CHANNELS.get(colour, 1)
    total = 0
    for left, top, right, down in ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
