"""Images whose last part is missing are bad images, in every format that is taken."""

import io
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from shared.errors import BadImage
from shared.images.listing import EXTENSIONS
from shared.images.torchvision_sets import to_png
from shared.pixels.decode import FORMATS, decode, image_size

HEIGHT, WIDTH = 40, 50
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(raw: bytes, colour: int = 2, depth: int = 8, interlace: int = 0, parts: int = 1) -> bytes:
    """A PNG of WIDTH x HEIGHT whose stream inflates to `raw`, in so many chunks."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlace)
    packed = zlib.compress(raw)
    edges = [len(packed) * part // parts for part in range(parts + 1)]
    pieces = [packed[a:b] for a, b in pairwise(edges)]
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    data = b"".join(chunk(b"IDAT", piece) for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + data + chunk(b"IEND", b"")


def saved(format: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, format, **options)
    return file.getvalue()


KINDS = [(2, 8, 3), (0, 1, 1), (0, 8, 1), (0, 16, 1), (3, 4, 1), (4, 8, 2), (6, 8, 4), (6, 16, 4)]


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("colour", "depth", "channels"), KINDS)
def test_a_png_has_all_its_rows(colour: int, depth: int, channels: int, interlace: int) -> None:
    """At whole rows and passes, where Pillow alone leaves the rest black."""
    bits = depth * channels
    passes = [(WIDTH, HEIGHT)]
    if interlace:  # columns and rows of the seven passes, counted one by one
        rule = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
                (0, 1, 1, 2)]  # fmt: skip
        passes = [(len(range(x, WIDTH, dx)), len(range(y, HEIGHT, dy))) for x, dx, y, dy in rule]
    rows = [1 + (columns * bits + 7) // 8 for columns, count in passes for _ in range(count)]
    whole = b"".join(b"\0" + bytes(row - 1) for row in rows)
    for parts in (1, 3):
        assert decode(png(whole, colour, depth, interlace, parts)).shape == (HEIGHT, WIDTH, 3)
        assert decode(png(whole + b"more", colour, depth, interlace, parts)) is not None
    for left in (1, 2, len(rows) // 2, len(rows) - 1):
        with pytest.raises(BadImage):
            decode(png(whole[: -sum(rows[-left:])], colour, depth, interlace))


def test_pillow_alone_fills_a_short_png_with_black() -> None:
    """Negative control."""
    row = b"\0" + bytes([200] * 3 * WIDTH)
    data = png(row * 10)
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    assert pixels[:10].min() == 200 and pixels[10:].max() == 0
    with pytest.raises(BadImage, match=r"^PNG data end after 1,510 of 6,040 bytes, \d+ bytes$"):
        decode(data)
    assert image_size(data) == (HEIGHT, WIDTH)


def test_sound_pngs_are_taken() -> None:
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        assert decode(saved("PNG", mode)).shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(decode(saved("PNG")), NOISE)
    small = NOISE[:32, :32]
    assert np.array_equal(decode(to_png(small)), small)
    animated = io.BytesIO()
    frames = [Image.fromarray(NOISE), Image.fromarray(NOISE[::-1])]
    frames[0].save(animated, "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(animated.getvalue()), NOISE)


def tiff_entry(data: bytes, tag: int) -> int:
    """Where the directory's entry of a tag starts: tag 2, type 2, count 4, value 4."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    places = (directory + 2 + 12 * entry for entry in range(count))
    return next(place for place in places if struct.unpack_from("<H", data, place)[0] == tag)


def fewer_strips(data: bytes) -> bytes:
    changed = bytearray(data)
    for tag in (273, 279):
        struct.pack_into("<I", changed, tiff_entry(data, tag) + 4, 3)
    return bytes(changed)


def taller(data: bytes) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<H", changed, tiff_entry(data, 257) + 8, 2 * HEIGHT)
    return bytes(changed)


@pytest.mark.parametrize("change", [fewer_strips, taller])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_has_all_its_strips(
    change: Callable[[bytes], bytes], compression: str | None
) -> None:
    data = saved("TIFF", compression=compression, tiffinfo={278: 8})
    assert np.array_equal(decode(data), NOISE)
    with pytest.raises(BadImage):
        decode(change(data))
    if compression is None:
        with pytest.raises(BadImage, match=r"^its strips hold [\d,]+ of [\d,]+ pixels, "):
            decode(change(data))


RLE_ROW = bytes([WIDTH, 7, 0, 0])


def rle_bmp(data: bytes) -> bytes:
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    start = 14 + 40 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    facts = (40, WIDTH, HEIGHT, 1, 8, 1, len(data), 0, 0, 256, 0)
    return header + struct.pack("<IiiHHIIiiII", *facts) + palette + data


def gif_with_end(blocks: int) -> bytes:
    """With only the first blocks of its code, ended as it should be."""
    data = saved("GIF", "P")
    place = data.rindex(b"\x2c\0\0\0\0") + 9
    place += 1 + (3 * 2 ** ((data[place] & 7) + 1) if data[place] & 0x80 else 0) + 1
    for _ in range(blocks):
        place += 1 + data[place]
    return data[:place] + b"\0;"


SHORT = {
    "BMP": saved("BMP")[:3000],
    "BMP with runs": rle_bmp(RLE_ROW * 5 + b"\0\1"),
    "GIF": saved("GIF", "P")[:1500],
    "GIF with an end": gif_with_end(2),
    "WEBP": saved("WEBP")[:-100],
    "WEBP lossless": saved("WEBP", lossless=True)[:-100],
    "PPM": saved("PPM")[:-100],
    "P5 of 16 bits": b"P5 50 40 65535\n" + b"1" * 500,
    "P3": b"P3 50 40 255 " + b"1 2 3 " * 100,
    "P1": b"P1 50 40 0 1",
    "P4": b"P4 50 40\n" + b"1" * 50,
    "TIFF": saved("TIFF")[:3000],
    "JPEG": saved("JPEG")[:1000],
}


@pytest.mark.parametrize("name", SHORT)
def test_where_pillow_raises_by_itself(name: str) -> None:
    with pytest.raises(BadImage):
        decode(SHORT[name])


def test_whole_ones_of_these_are_taken() -> None:
    """Negative control."""
    assert decode(rle_bmp(RLE_ROW * HEIGHT + b"\0\1")).shape == (HEIGHT, WIDTH, 3)
    assert decode(gif_with_end(11)).shape == (HEIGHT, WIDTH, 3)
    assert decode(b"P3 50 40 255 " + b"1 2 3 " * 2000).shape == (HEIGHT, WIDTH, 3)


def test_formats_are_named() -> None:
    """An EPS would start Ghostscript; whatever it is called, it is not opened."""
    for other in ("EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "DDS"):
        data = saved(other)
        text = r"^not an image in a known format, [\d,]+ bytes$"
        for act in (decode, image_size):
            with pytest.raises(BadImage, match=text):
                act(data)
    for format in FORMATS:
        assert decode(saved(format)).shape == (HEIGHT, WIDTH, 3)
    Image.init()
    for extension in EXTENSIONS:
        assert Image.EXTENSION[extension] in FORMATS


def test_a_jpeg_of_too_many_scans_that_only_pillow_reads() -> None:
    """A byte to fill up, before a marker, is allowed; simplejpeg's path does not take it."""
    data = saved("JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    body, end = data[first:-2], data[-2:]
    filled = data[:first] + b"\xff" + body
    assert decode(filled + end).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(BadImage, match=r"scans are more than 100, "):
        decode(filled + body * 30 + end)


HEADERS_ONLY = {
    "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 10**7,
    "JPEG of markers": b"\xff\xd8" + b"\xff\xe0\0\2" * 10**6,
    "PPM of one comment": b"P6 #" + b"x" * 10**7,
    "PNG of chunks": png(b"")[:33] + chunk(b"tEXt", b"k\0v") * 10**5 + png(b"")[33:],
}


@pytest.mark.parametrize("kind", HEADERS_ONLY)
def test_a_file_of_nothing_but_header_is_given_up(kind: str) -> None:
    with pytest.raises(BadImage, match=r"^its header has more than 200,000 parts"):
        decode(HEADERS_ONLY[kind])
