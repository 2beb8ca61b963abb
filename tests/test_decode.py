"""Decoding: every mode as torchvision's ImageFolder gives it, every broken file as one line."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import pil_loader

from shared.errors import BadImage
from shared.pixels.decode import MAX_PIXELS, MAX_SCANS, decode, decode_rows, image_size

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


def damaged(data: bytes) -> bytes:
    """Two thirds down the entropy-coded data, 64 bits that are no Huffman code."""
    place = len(data) * 2 // 3
    return data[:place] + b"\xff\0" * 8 + data[place + 16 :]


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


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # the reference's own
@pytest.mark.parametrize("name", SOUND)
def test_pixels_are_those_of_imagefolder(name: str, tmp_path: Path) -> None:
    data = SOUND[name]()
    (tmp_path / "image.JPEG").write_bytes(data)  # the suffix says nothing, in ImageNet least
    expected = np.asarray(pil_loader(tmp_path / "image.JPEG"))
    pixels = decode(data)
    assert np.array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert image_size(data) == pixels.shape[:2]
    assert pixels.shape == ((1, 1, 3) if "1x1" in name else (20, 30, 3))


FLAT_CMYK = Image.new("CMYK", (16, 16), (10, 60, 110, 20))
KNOWN: list[tuple[str, bytes, list[int]]] = [
    ("L", encode(Image.new("L", (9, 9), 7)), [7, 7, 7]),
    ("L JPEG", encode(Image.new("L", (9, 9), 7), "JPEG"), [7, 7, 7]),
    ("RGB JPEG", encode(Image.new("RGB", (9, 9), (1, 2, 3)), "JPEG", keep_rgb=True), [1, 2, 3]),
    ("RGBA: alpha dropped", encode(Image.new("RGBA", (9, 9), (10, 20, 30, 0))), [10, 20, 30]),
    ("palette", encode(Image.new("RGB", (9, 9), (9, 8, 7)).quantize(2)), [9, 8, 7]),
    ("CMYK: (255 - C) (255 - K) / 255", encode(FLAT_CMYK, "JPEG", quality=100), [226, 180, 134]),
    ("YCCK: C = Y + 1.402 (Cr - 128)", ycck(FLAT_CMYK), [0, 41, 0]),
    ("16 bits, RGB: the upper 8", png16(2, [0x1234, 0x00FF, 0x80FF]), [0x12, 0, 0x80]),
    ("16 bits, RGBA: the same", png16(6, [0x1000, 0x2000, 0x3000, 0]), [0x10, 0x20, 0x30]),
    ("16 bits, grey: clipped, as Pillow does", png16(0, [0x0100]), [255, 255, 255]),
    ("16 bits, grey: clipped, as Pillow does", png16(0, [0x0007]), [7, 7, 7]),
]


@pytest.mark.parametrize(("name", "data", "expected"), KNOWN)
def test_known_pixels(name: str, data: bytes, expected: list[int]) -> None:
    """By hand, should Pillow and the reference ever change together."""
    assert decode(data)[0, 0].tolist() == expected, name


def test_exif_orientation_is_ignored() -> None:
    assert np.array_equal(decode(rotated()), decode(encode(COLOUR, "JPEG")))


@pytest.mark.parametrize("name", ["P with transparency", "EXIF corrupt"])
def test_pillows_warnings_do_not_escape(name: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(SOUND[name]())
    with pytest.warns(UserWarning):
        pil_loader(tmp_path / "image")
    decode(SOUND[name]())  # pytest makes an error of any warning


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "zero bytes"),
        (b"not an image\n", "not an image in a known format, 13 bytes"),
        (b"\xff\xd8", "not an image in a known format, 2 bytes"),
    ],
)
def test_what_is_no_image(data: bytes, text: str) -> None:
    for function in (decode, image_size):
        with pytest.raises(BadImage) as caught:
            function(data)
        assert str(caught.value) == text


def test_truncated_jpeg() -> None:
    data = encode(COLOUR, "JPEG")[:-200]
    assert image_size(data) == (20, 30)  # the header is whole
    with pytest.raises(BadImage) as caught:
        decode(data)
    expected = r"OSError: image file is truncated \(\d+ bytes not processed\), \d+ bytes"
    assert caught.match(f"^{expected}$")


DAMAGE = r"Corrupt JPEG data: [^\n]+, [\d,]+ bytes"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_whose_code_ends_too_early(mode: str, restarts: int, progressive: bool) -> None:
    """Pillow shows the lower part in grey, or in one colour, and says nothing."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8))
    data = encode(
        image.convert(mode), "JPEG", progressive=progressive, restart_marker_blocks=restarts
    )
    third = len(data) // 3
    broken = data[:third] + data[2 * third :]
    assert np.asarray(Image.open(BytesIO(broken)).convert("RGB")).shape == (200, 300, 3)
    with pytest.raises(BadImage, match=f"^{DAMAGE}$"):
        decode(broken)
    with pytest.raises(BadImage, match=f"^{DAMAGE}$"):
        decode_rows(broken, 200)


def test_a_code_that_is_no_huffman_code() -> None:
    with pytest.raises(BadImage, match=r"^Corrupt JPEG data: bad Huffman code, [\d,]+ bytes$"):
        decode(damaged(encode(COLOUR, "JPEG")))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_flipped_bits_are_an_error_or_give_pillows_pixels(mode: str) -> None:
    """A JPEG has no checksum, so most of them go unseen, here as anywhere."""
    data = encode(COLOUR.resize((60, 80)).convert(mode), "JPEG")
    rng = np.random.default_rng(2)
    errors = 0
    for _ in range(300):
        broken = bytearray(data)
        broken[rng.integers(len(data) // 2, len(data) - 2)] ^= 1 << rng.integers(8)
        try:
            pixels = decode(bytes(broken))
        except BadImage:
            errors += 1
        else:
            expected = Image.open(BytesIO(broken)).convert("RGB")
            assert np.array_equal(pixels, np.asarray(expected))
    assert 0 < errors < 300


@pytest.mark.parametrize(
    "name", [*FORMATS, "progressive", "CMYK", "YCCK", "L JPEG", "restart markers"]
)
def test_truncated_anywhere_is_an_error_or_whole(name: str) -> None:
    """Never half an image; whole only where all that is missing comes after the pixels."""
    data = SOUND[name]()
    whole = decode(data)
    bad = 0
    for length in range(len(data)):
        try:
            pixels = decode(data[:length])
        except BadImage as error:
            bad += 1
            assert str(error)
            assert "\n" not in str(error)
        else:
            assert np.array_equal(pixels, whole), length
        try:
            pixels = decode_rows(data[:length], 20)
        except BadImage:
            pass
        else:
            assert np.array_equal(pixels, whole), length
    assert bad > 0.8 * len(data)


@given(
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), max_size=8),
    name=st.sampled_from(FORMATS),
)
def test_corrupt_bytes_give_pixels_or_bad_image(flips: list[tuple[int, int]], name: str) -> None:
    data = bytearray(SOUND[name]())
    for place, change in flips:
        data[place % len(data)] ^= change
    try:
        pixels = decode(bytes(data))
    except BadImage as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (*image_size(bytes(data)), 3)


def header_only(width: int, height: int) -> bytes:
    """A PPM that promises more than it holds."""
    return b"P6 %d %d 255\n" % (width, height)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (9_001, f"9001 x 10000 is more than {MAX_PIXELS:,} pixels"),
        (90_010, f"more than {MAX_PIXELS:,} pixels"),  # Pillow itself refuses twice its limit
    ],
)
def test_decompression_bomb(width: int, text: str) -> None:
    for function in (decode, image_size):
        with pytest.raises(BadImage) as caught:
            function(header_only(width, 10_000))
        assert str(caught.value) == text


def test_the_pixel_limit_is_pillows() -> None:
    """A lower one of Pillow's would warn below ours; a higher one is no reason to raise ours."""
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    assert image_size(header_only(MAX_PIXELS, 1)) == (1, MAX_PIXELS)


def test_bomb_prints_nothing_outside_pytest(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(header_only(9_001, 10_000))
    code = (
        "import pathlib, sys; from shared.pixels.decode import decode, BadImage\n"
        "try: decode(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "except BadImage as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"9001 x 10000 is more than {MAX_PIXELS:,} pixels\n"
    assert done.stderr == ""


def jpeg_header_only(width: int, height: int) -> bytes:
    data = bytearray(encode(COLOUR, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_decompression_bomb_of_a_jpeg() -> None:
    for function in (decode, image_size, lambda data: decode_rows(data, 1)):
        with pytest.raises(BadImage) as caught:
            function(jpeg_header_only(9_001, 10_000))
        assert str(caught.value) == f"9001 x 10000 is more than {MAX_PIXELS:,} pixels"


def test_a_progressive_jpeg_of_too_many_scans() -> None:
    """Each is a pass over all pixels: a small file could keep a decoder busy for minutes."""
    data = encode(COLOUR, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data).shape == (20, 30, 3)
    bomb = data[:-2] + scan * MAX_SCANS + data[-2:]
    scans = data.count(b"\xff\xda") + MAX_SCANS
    with pytest.raises(BadImage) as caught:
        decode(bomb)
    assert str(caught.value) == f"{scans} scans are more than {MAX_SCANS}, {len(bomb):,} bytes"


WIDE = {
    "JPEG": ("JPEG", {}, "RGB", 4),
    "progressive": ("JPEG", {"progressive": True, "subsampling": 0}, "RGB", 12),
    "CMYK": ("JPEG", {}, "CMYK", 16),
    "PNG": ("PNG", {"compress_level": 1}, "RGB", 12),
    "palette": ("PNG", {"compress_level": 1}, "P", 12),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("name", WIDE)
def test_memory_of_an_image_20000_pixels_wide(name: str, tmp_path: Path) -> None:
    format, options, mode, bytes_per_pixel = WIDE[name]
    rows = 1000
    image = Image.fromarray(np.resize(NOISE, (rows, 20_000, 3))).convert(mode)
    (tmp_path / "wide").write_bytes(encode(image, format, **options))
    code = (
        "import pathlib, re, sys; from shared.pixels.decode import decode\n"
        "def peak():\n"
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) * 1024\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes(); before = peak()\n"
        "print(decode(data).shape, peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "wide"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    shape, peak = done.stdout.rsplit(" ", 1)
    assert shape == f"({rows}, 20000, 3)"
    assert int(peak) < bytes_per_pixel * rows * 20_000
