"""Decoding: every mode as torchvision's ImageFolder gives it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from shared.pixels.decode import decode, image_size
from tests.encoded import COLOUR, SOUND, encode, png16, rotated, ycck


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
