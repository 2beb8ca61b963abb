"""Decoding the top of a JPEG: the whole file's pixels, and its verdict but for what is below."""

from io import BytesIO

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.choices import POLICIES
from shared.errors import BadImage
from shared.pixels import decode as decode_module
from shared.pixels import region
from shared.pixels.decode import decode, decode_rows, image_size
from shared.pixels.policy import draw_view
from shared.pixels.region import cut_below, read_header
from shared.pixels.view import View, apply, apply_to_image

SUBSAMPLINGS = ["444", "422", "420", "440", "411"]


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """In which one wrong row of context is seen."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(height: int, width: int, subsampling: str = "420", quality: int = 90) -> bytes:
    image = noise(height, width)
    if subsampling == "grey":
        data = simplejpeg.encode_jpeg(image[..., :1].copy(), quality, colorspace="GRAY")
    else:
        data = simplejpeg.encode_jpeg(image, quality, colorsubsampling=subsampling)
    return bytes(data)


def pillow_jpeg(mode: str = "RGB", **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(noise(100, 60)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [*SUBSAMPLINGS, "grey"])
@pytest.mark.parametrize(("height", "width"), [(100, 60), (97, 41), (64, 64), (17, 33)])
def test_every_top_equals_that_of_the_whole(subsampling: str, height: int, width: int) -> None:
    data = jpeg(height, width, subsampling)
    whole = decode(data)
    decoded = set()
    for rows in range(1, height + 5):
        top = decode_rows(data, rows)
        assert len(top) >= min(rows, height)
        assert np.array_equal(top, whole[: len(top)]), rows
        assert len(top) < rows + 16 or len(top) == height
        decoded.add(len(top))
    assert len(decoded) > 1  # the cut is made, and where it must be


@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    rows=st.integers(1, 90),
    subsampling=st.sampled_from([*SUBSAMPLINGS, "grey"]),
    quality=st.integers(1, 100),
)
def test_any_top(height: int, width: int, rows: int, subsampling: str, quality: int) -> None:
    data = jpeg(height, width, subsampling, quality)
    top, whole = decode_rows(data, rows), decode(data)
    assert len(top) >= min(rows, height)
    assert np.array_equal(top, whole[: len(top)])
    assert whole.shape == (*image_size(data), 3) == (height, width, 3)


def test_the_rows_of_context_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(region, "CONTEXT", 0)
    data = jpeg(100, 60)
    header = read_header(data)
    assert header is not None
    part = cut_below(data, header, 32)
    assert part is not None
    top = simplejpeg.decode_jpeg(part.data, strict=False)
    assert not np.array_equal(top[:32], decode(data)[:32])


def test_what_is_cut() -> None:
    data = jpeg(100, 60)
    header = read_header(data)
    assert header is not None
    assert (header.height, header.width, header.components, header.mcu_height) == (100, 60, 3, 16)
    heights = [None if (top := cut_below(data, header, n)) is None else top.height
               for n in (1, 14, 15, 30, 31, 78, 79, 94, 95, 100, 200)]  # fmt: skip
    assert heights == [16, 16, 32, 32, 48, 80, 96, 96, None, None, None]


@pytest.mark.parametrize(
    "data",
    [
        pillow_jpeg(progressive=True),
        pillow_jpeg(restart_marker_blocks=2),
        jpeg(100, 60)[:-2],  # no end marker
        jpeg(16, 60),  # one row of MCUs
    ],
)
def test_what_is_not_cut(data: bytes) -> None:
    header = read_header(data)
    assert header is not None
    assert cut_below(data, header, 1) is None


def test_cmyk_is_not_cut() -> None:
    """Its pixels are Pillow's."""
    data = pillow_jpeg("CMYK")
    assert np.array_equal(decode_rows(data, 1), decode(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:2],
        lambda data: data[:100],
        lambda data: b"\x89PNG" + data,
        lambda data: data[:2] + b"junk" + data[2:],
        lambda data: data.replace(b"\xff\xc0", b"\xff\xc4"),  # no frame
        lambda data: data.replace(b"\xff\xc0\0\x11", b"\xff\xc0\0\x10"),  # of another length
        lambda data: data.replace(b"\0\x64\0\x3c", b"\0\0\0\x3c"),  # of no height
        lambda data: data[: data.index(b"\xff\xda")],  # no scan
    ],
)
def test_no_header(change: object) -> None:
    data = change(jpeg(100, 60))  # type: ignore[operator]
    assert read_header(data) is None


@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_have_a_header_or_none(data: bytes, place: int) -> None:
    sound = jpeg(20, 20)
    for changed in (
        data,
        b"\xff\xd8\xff" + data,
        sound[:place] + data + sound[place + len(data) :],
    ):
        header = read_header(changed)
        assert header is None or header.height * header.width * header.components > 0


def broken(data: bytes) -> bytes:
    """The third quarter is missing."""
    quarter = len(data) // 4
    return data[: 2 * quarter] + data[3 * quarter :]


def test_damage_below_is_not_seen_and_damage_inside_is() -> None:
    """The verdict is one of the bytes and the box."""
    data = jpeg(400, 300)
    whole = decode(data)
    with pytest.raises(BadImage) as caught:
        decode(broken(data))
    assert "premature end of data segment" in str(caught.value)
    taken = []
    for rows in range(1, 401, 20):
        try:
            top = decode_rows(broken(data), rows)
        except BadImage as error:
            assert str(error) == str(caught.value)
        else:
            taken.append(rows)
            if rows < 180:
                assert np.array_equal(top[:rows], whole[:rows])
    assert taken == list(range(1, taken[-1] + 1, 20))  # below some row, and only there
    assert 180 < taken[-1] < 320


def test_a_missing_end_is_judged_as_a_whole() -> None:
    data = jpeg(400, 300)
    for cut in (len(data) // 2, len(data) - 500):
        with pytest.raises(BadImage, match="image file is truncated"):
            decode_rows(data[:cut], 1)


@pytest.mark.parametrize("subsampling", [*SUBSAMPLINGS, "grey"])
@pytest.mark.parametrize("policy", POLICIES)
def test_views_equal_those_of_the_whole_image(policy: str, subsampling: str) -> None:
    data = jpeg(300, 200, subsampling)
    whole = decode(data)
    for index in range(40):
        view = draw_view(policy, 32, 0, 0, index, 300, 200)
        assert torch.equal(apply(view, data, 32), apply_to_image(view, whole, 32))


@given(
    top=st.integers(-60, 120), left=st.integers(-60, 120), height=st.integers(1, 130),
    width=st.integers(1, 130), flip=st.booleans(),
)  # fmt: skip
def test_boxes_that_reach_outside(top: int, left: int, height: int, width: int, flip: bool) -> None:
    data = jpeg(100, 60)
    view = View(top, left, height, width, flip)
    assert torch.equal(apply(view, data, 24), apply_to_image(view, decode(data), 24))


def test_a_view_decodes_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    heights = []
    original = simplejpeg.decode_jpeg

    def spy(data: bytes, **options: object) -> NDArray[np.uint8]:
        heights.append(simplejpeg.decode_jpeg_header(data)[0])
        return original(data, **options)

    monkeypatch.setattr(decode_module.simplejpeg, "decode_jpeg", spy)
    apply(View(20, 10, 40, 40, False), jpeg(400, 300), 32)
    assert heights == [64]
