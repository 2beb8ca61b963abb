"""Broken images: an error in one line, or the pixels that Pillow gives; never half an image."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import BadImage
from shared.pixels.decode import decode, decode_rows, image_size
from tests.encoded import COLOUR, FORMATS, SOUND, encode


def damaged(data: bytes) -> bytes:
    """Two thirds down the entropy-coded data, 64 bits that are no Huffman code."""
    place = len(data) * 2 // 3
    return data[:place] + b"\xff\0" * 8 + data[place + 16 :]


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
