"""Decoding: every mode as torchvision's ImageFolder gives it, every broken file as one line."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import pil_loader

from shared.decode import MAX_PIXELS, BadImage, decode, image_size

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
    (tmp_path / "image").write_bytes(data)
    expected = np.asarray(pil_loader(tmp_path / "image"))
    pixels = decode(data)
    assert np.array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert image_size(data) == pixels.shape[:2]
    assert pixels.shape == ((1, 1, 3) if name == "1x1" else (20, 30, 3))


def test_known_pixels() -> None:
    """By hand, should Pillow and the reference ever change together."""
    grey = Image.new("L", (2, 1), 7)
    assert decode(encode(grey)).tolist() == [[[7, 7, 7], [7, 7, 7]]]
    clear = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert decode(encode(clear)).tolist() == [[[10, 20, 30]]]


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


@pytest.mark.parametrize("name", [*FORMATS, "progressive", "CMYK"])
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
        "import pathlib, sys; from shared.decode import decode, BadImage\n"
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
