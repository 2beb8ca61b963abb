"""An image that is packed: its size, its pixels and its key."""

import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from precompute.pack_shard import pack_image, packed_key
from shared.errors import BadImage
from shared.pixels.decode import decode


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 200), (50, 100)), ((200, 100), (100, 50)), ((50, 60), (50, 60)), ((51, 51), (50, 50)),
     ((60, 3000), (50, 2500)), ((49, 500), (49, 500))],
)  # fmt: skip
def test_sizes(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = Image.fromarray(np.full((*shape, 3), 77, np.uint8))
    for form in ("JPEG", "PNG"):
        buffer = BytesIO()
        image.save(buffer, form)
        data = pack_image(buffer.getvalue(), 50, 90)
        assert data.startswith(b"\xff\xd8\xff") and decode(data).shape[:2] == expected
        assert (data == buffer.getvalue()) == (shape == expected and form == "JPEG")
        assert np.abs(decode(data).astype(int) - 77).max() <= 2


def test_reduction_is_antialiased() -> None:
    """A fine chequerboard becomes grey, not black and white."""
    board = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(board).save(buffer, "PNG")
    small = decode(pack_image(buffer.getvalue(), 50, 95))
    assert np.abs(small.astype(int) - 127).max() < 8


def test_a_truncated_jpeg_is_bad_even_where_it_would_be_kept() -> None:
    buffer = BytesIO()
    Image.fromarray(np.full((40, 40, 3), 77, np.uint8)).save(buffer, "JPEG")
    with pytest.raises(BadImage):
        pack_image(buffer.getvalue()[:-40], 50, 90)


def test_packed_keys() -> None:
    assert [packed_key(key) for key in ("a/b.c.d.jpg", "a.b/c.jpg", "00001.png", "a/b")] == [
        "a/b_c_d", "a.b/c", "00001", "a/b",
    ]  # fmt: skip
    assert os.sep == "/"
