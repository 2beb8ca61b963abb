"""Small images in every encoding that is decoded."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
COLOUR = Image.fromarray(NOISE)
FORMATS = ["JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP"]


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def palette_with_transparency() -> bytes:
    """Pillow warns when such an image becomes RGB."""
    image = COLOUR.quantize(16)
    return encode(image, transparency=bytes(range(16)))


def corrupt_exif() -> bytes:
    """An APP1 segment that breaks off, which makes Pillow warn; ImageNet has such files."""
    jpeg = encode(COLOUR, "JPEG")
    app0 = 2 + 2 + int.from_bytes(jpeg[4:6], "big")
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\0\x1a\x01\x05\0\x01\0\0\0\xff\xff\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[app0:]


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to show
    return encode(COLOUR, "JPEG", exif=exif)


def grey16() -> bytes:
    return encode(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100))


def png16(colour_type: int, values: list[int]) -> bytes:
    """1 x 1 pixel of 16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


def ycck(image: Image.Image = COLOUR) -> bytes:
    """A CMYK JPEG whose Adobe segment says that the first three channels are YCbCr."""
    data = bytearray(encode(image.convert("CMYK"), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


SOUND: dict[str, Callable[[], bytes]] = {
    "RGB": lambda: encode(COLOUR),
    "L": lambda: encode(COLOUR.convert("L")),
    "LA": lambda: encode(COLOUR.convert("LA")),
    "1": lambda: encode(COLOUR.convert("1")),
    "I;16": grey16,
    "P": lambda: encode(COLOUR.quantize(16)),
    "P with transparency": palette_with_transparency,
    "RGBA": lambda: encode(COLOUR.convert("RGBA")),
    "CMYK": lambda: encode(COLOUR.convert("CMYK"), "JPEG"),
    "YCCK": ycck,
    "RGB JPEG": lambda: encode(COLOUR, "JPEG", keep_rgb=True),
    "4:4:4": lambda: encode(COLOUR, "JPEG", subsampling=0),
    "4:2:2": lambda: encode(COLOUR, "JPEG", subsampling=1),
    "restart markers": lambda: encode(COLOUR, "JPEG", restart_marker_blocks=1),
    "progressive L": lambda: encode(COLOUR.convert("L"), "JPEG", progressive=True),
    "bytes after the end": lambda: encode(COLOUR, "JPEG") + b"trailing",
    "bytes before the end": lambda: encode(COLOUR, "JPEG")[:-2] + b"\0\0\xff\xd9",
    "bytes in the header": lambda: b"\xff\xd8\xff\xfe\0\2junk" + encode(COLOUR, "JPEG")[2:],
    "1x1 JPEG": lambda: encode(COLOUR.crop((0, 0, 1, 1)), "JPEG"),
    "L JPEG": lambda: encode(COLOUR.convert("L"), "JPEG"),
    "progressive": lambda: encode(COLOUR, "JPEG", progressive=True),
    "EXIF rotated": rotated,
    "EXIF corrupt": corrupt_exif,
    "1x1": lambda: encode(COLOUR.crop((0, 0, 1, 1))),
    **{name: lambda name=name: encode(COLOUR, name) for name in FORMATS},  # type: ignore[misc]
}
