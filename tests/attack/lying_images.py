"""Images whose headers lie, bombs, and what is in another format than its name says."""

import itertools
import struct
import zlib
from collections.abc import Iterator

from shared.pixels.decode import MAX_PIXELS
from tests.test_complete import chunk, png, rle_bmp, saved


def jpeg_with(height: int, width: int) -> bytes:
    data = bytearray(saved("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, place, height, width)
    return bytes(data)


def png_with(height: int, width: int, extra: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def bmp_with(height: int, width: int, bits: int = 24) -> bytes:
    data = bytearray(saved("BMP"))
    struct.pack_into("<iiHH", data, 18, width, height, 1, bits)
    return bytes(data)


def gif_with(height: int, width: int) -> bytes:
    data = bytearray(saved("GIF", "P"))
    struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


def tiff_with(tag: int, kind: int, count: int, value: int) -> bytes:
    """One directory with one entry more, or another value of one that is there."""
    data = bytearray(saved("TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(entries):
        place = directory + 2 + 12 * entry
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<HHII", data, place, tag, kind, count, value)
    return bytes(data)


def tiff_in_a_circle() -> bytes:
    data = bytearray(saved("TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * entries, directory)
    return bytes(data)


def scans(count: int) -> bytes:
    data = saved("JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    return data[:first] + b"\xff" + data[first:-2] * count + data[-2:]


def forged() -> Iterator[tuple[str, bytes]]:
    """Headers that lie, bombs, and what is in another format."""
    for height, width in (
        (0, 50),
        (1, 65535),
        (65535, 65535),
        (2**31 - 1, 2**31 - 1),
        (9000, 9000),
    ):
        small = height < 65536 and width < 65536
        if small:
            yield f"JPEG {height} x {width}", jpeg_with(height, width)
            yield f"GIF {height} x {width}", gif_with(height, width)
        yield f"PNG {height} x {width}", png_with(height, width)
        yield f"BMP {height} x {width}", bmp_with(height, width)
        yield f"BMP {-height} x {width}", bmp_with(-height, width)
        yield f"PPM {height} x {width}", b"P6 %d %d 255\n" % (width, height) + bytes(100)
        yield f"P3 {height} x {width}", b"P3 %d %d 255 " % (width, height) + b"1 " * 100
        yield f"PFM {height} x {width}", b"Pf\n%d %d\n-1.0\n" % (width, height) + bytes(100)
    side = int(MAX_PIXELS**0.5)
    rows = zlib.compress(bytes(side // 10 * (1 + 3 * side)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side // 10, 8, 2, 0, 0, 0))
    start = b"\x89PNG\r\n\x1a\n"
    yield "a large PNG that is whole", start + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    packed = zlib.compress(bytes(1 << 28), 9)
    for kind, text in (("zTXt", b"k\0\0"), ("iTXt", b"k\0\1\0\0\0"), ("iCCP", b"k\0\0")):
        yield f"PNG with a bomb in {kind}", png_with(40, 50, chunk(kind.encode(), text + packed))
    yield (
        "PNG with a bomb in IDAT",
        start
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 50, 40, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b""),
    )
    yield "PNG of 300,000 chunks", png_with(40, 50, chunk(b"tEXt", b"k\0v") * 300_000)
    yield "PNG with a chunk beyond the end", png(bytes(6040))[:-16] + b"\x7f\xff\xff\xffIDAT"
    for depth, colour in itertools.product((0, 3, 16, 255), (1, 3, 7)):
        yield f"PNG of depth {depth}, colour {colour}", png_with(40, 50, depth=depth, colour=colour)
    for bits in (0, 1, 7, 8, 32, 65535):
        yield f"BMP of {bits} bits", bmp_with(40, 50, bits)
    yield "BMP with runs to nowhere", rle_bmp(b"\0\2\xff\xff" * 10_000)
    yield "BMP with runs for ever", rle_bmp(bytes([255, 7]) * 200_000)
    for tag, kind, count, value in (
        *((tag, 4, 1, 2**32 - 1) for tag in (256, 257, 258, 273, 277, 278, 279, 284, 262, 259)),
        *((tag, 4, 2**31 - 1, 8) for tag in (258, 273, 279, 320, 322, 324, 34675)),
        *((259, 3, 1, value) for value in (2, 3, 4, 5, 6, 7, 8, 32773, 34712, 50000, 65535)),
    ):  # fmt: skip
        yield f"TIFF tag {tag} = {value} x {count}", tiff_with(tag, kind, count, value)
    yield "TIFF in a circle", tiff_in_a_circle()
    yield "JPEG of 100,000 scans", scans(100_000)
    yield "JPEG of 10 MB of one marker", b"\xff\xd8" + b"\xff\xe0\0\2" * 2_500_000
    yield "JPEG of 10 MB of 0xff", b"\xff\xd8" + b"\xff" * 10_000_000
    yield "GIF of 100,000 frames", saved("GIF", "P")[:-1] + b"\x2c" + bytes(9) + b"\2\0" * 100_000
    yield "P3 of one long number", b"P3 50 40 255 " + b"1" * 10_000_000
    yield "P6 of one long comment", b"P6 #" + b"x" * 10_000_000
    for other in ("EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "SPIDER", "MSP"):
        mode = {"SPIDER": "F", "MSP": "1"}.get(other, "RGB")
        yield f"{other} called .jpg", saved(other, mode)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 40\n%%EndComments\n{ } loop\n"
    yield "EPS that never ends", script
    for name, data in (
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("FLI", b"\0\0\0\0\x11\xaf" + bytes(200)),
        ("WMF", b"\xd7\xcd\xc6\x9a" + bytes(200)),
        ("nothing", b""), ("zeros", bytes(10**7)), ("text", b"hello " * 1000),
        ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)), ("FITS", b"SIMPLE  =" + b" " * 3000),
        ("XPM", b"/* XPM */\nstatic char *x[] = {" + b'"50 40 1 1",' * 100),
    ):  # fmt: skip
        yield f"{name} called .jpg", data
