"""The pixels of a view: torchvision's, and numpy's where it reaches beyond the image."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision_functional

from shared.choices import INTERPOLATIONS, POLICIES
from shared.errors import InputError
from shared.pixels.decode import MAX_PIXELS, decode
from shared.pixels.policy import draw_view
from shared.pixels.view import (
    INTERPOLATION,
    View,
    ViewPolicy,
    apply,
    apply_to_image,
    shorter_side,
    stored_view,
)
from tests.pictures import IMAGENET, PANORAMA, SIDES, WORDS, picture


@pytest.mark.parametrize("policy", ["random-resized-crop", "center"])
@pytest.mark.parametrize("shape", [IMAGENET, (500, 333), (40, 60), (224, 224), (1, 1)])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pixels_equal_torchvisions(
    policy: str, shape: tuple[int, int], size: int, interpolation: str
) -> None:
    image = picture(*shape)
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    for index in range(5):
        view = draw_view(ViewPolicy(policy, interpolation), size, 0, 0, index, *shape)
        expected = torchvision_functional.resized_crop(
            planes,
            *(view.top, view.left, view.height, view.width),
            [size, size],
            InterpolationMode(interpolation),
            antialias=True,
        )
        if view.flip:
            expected = torchvision_functional.horizontal_flip(expected)
        pixels = apply_to_image(view, image, size)
        assert pixels.dtype == torch.uint8
        assert pixels.permute(1, 2, 0).is_contiguous(), "channels last"
        assert torch.equal(pixels, expected)


# (height, width) for torchvision's evaluation transform: 224, 256 and what lies around them, odd
# sides, images smaller than what they are resized to, panoramas.
SHAPES = [
    *(IMAGENET, (500, 375), (333, 500), (500, 333), (401, 299), (224, 224), (256, 256), (255, 257)),
    *((257, 255), (256, 341), (341, 256), (100, 75), (31, 47), (1, 1), (1, 3), (600, 600)),
    *((799, 1201), PANORAMA, (1000, 60), (1999, 301)),
]


def by_torchvision(
    image: npt.NDArray[np.uint8],
    size: int = 224,
    shorter: int = 256,
    interpolation: str = INTERPOLATION,
) -> torch.Tensor:
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    mode = InterpolationMode(interpolation)
    resized = torchvision_functional.resize(planes, [shorter], mode, antialias=True)
    return torchvision_functional.center_crop(resized, [size, size])


def encoded(image: npt.NDArray[np.uint8], form: str) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_val_pixels_are_those_of_torchvisions_transform(shape: tuple[int, int], form: str) -> None:
    """Drawn, and replayed from what a cache stores of them."""
    data = encoded(picture(*shape), form)
    image = decode(data)
    view = draw_view("resize-center", 224, 0, 0, 0, *shape)
    stored = stored_view("resize-center", [view.top, view.left, view.height, view.width], view.flip)
    assert stored == view
    expected = by_torchvision(image)
    for pixels in (apply_to_image(view, image, 224), apply(stored, data, 224)):
        assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.uint8
        assert pixels.permute(1, 2, 0).is_contiguous(), "channels last"
        assert torch.equal(pixels, expected)


@given(height=st.integers(1, 400), width=st.integers(1, 400), size=st.sampled_from([65, 96, 160]))
def test_other_sizes_cut_the_same_share(height: int, width: int, size: int) -> None:
    image = picture(height, width)
    view = draw_view("resize-center", size, 0, 0, 0, height, width)
    expected = by_torchvision(image, size, shorter=round(size * 256 / 224))
    assert torch.equal(apply_to_image(view, image, size), expected)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("size", "shorter"), [(224, 235), (224, 232), (288, 288), (32, 36)])
def test_a_networks_own_crop_is_torchvisions(size: int, shorter: int, interpolation: str) -> None:
    """235 is what timm makes of 224 and its crop_pct 0.95."""
    image = picture(*IMAGENET)
    how = ViewPolicy("resize-center", interpolation, size / shorter)
    view = draw_view(how, size, 0, 0, 0, *IMAGENET)
    expected = by_torchvision(image, size, shorter, interpolation)
    assert torch.equal(apply_to_image(view, image, size), expected)
    box = [view.top, view.left, view.height, view.width]
    assert stored_view(how, box, view.flip) == view


@given(height=SIDES, width=SIDES, size=st.integers(1, 64))
def test_small_networks_see_the_whole_central_square(height: int, width: int, size: int) -> None:
    views = [draw_view(p, size, 0, 0, 0, height, width) for p in ("center", "resize-center")]
    assert replace(views[0], resize_first=True) == views[1]
    assert views[0].height == views[0].width == min(height, width)
    image = picture(height % 50 + 1, width % 50 + 1)
    pixels = [
        apply_to_image(draw_view(p, size, 0, 0, 0, *image.shape[:2]), image, size)
        for p in ("center", "resize-center")
    ]
    assert torch.equal(*pixels)


@pytest.mark.parametrize("size", [65, 224, 4096])
@pytest.mark.parametrize("shape", [(1, MAX_PIXELS), (MAX_PIXELS // 3, 3), (1, 65_535)])
def test_a_resize_never_fills_the_memory(shape: tuple[int, int], size: int) -> None:
    """Of an image that is extremely long its central part is resized, and no box makes more."""
    view = draw_view("resize-center", size, 0, 0, 0, *shape)
    assert min(view.height, view.width) == min(shape)
    assert abs(2 * view.top + view.height - shape[0]) <= 1
    assert abs(2 * view.left + view.width - shape[1]) <= 1
    short, long = sorted((view.height, view.width))
    resized = shorter_side(size) * int(shorter_side(size) * long / short)
    assert 0.7 * min(MAX_PIXELS, shorter_side(size) ** 2 * max(shape) // min(shape)) < resized
    assert resized <= MAX_PIXELS
    forged = View(0, 0, *shape, False, True)
    if shorter_side(size) ** 2 * max(shape) // min(shape) > MAX_PIXELS:
        with pytest.raises(InputError, match="pixels, also when resized: "):
            apply(forged, encoded(picture(1, 1), "PNG"), size)


def test_apply_decodes_and_crops() -> None:
    image = picture(40, 50)
    png = BytesIO()
    Image.fromarray(image).save(png, "PNG")
    pixels = apply(View(3, 5, 32, 32, True), png.getvalue(), 32)
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), image[3:35, 5:37][:, ::-1])


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    top=st.integers(-30, 30),
    left=st.integers(-30, 30),
    size=st.integers(1, 20),
)
def test_outside_is_numpys_reflect(height: int, width: int, top: int, left: int, size: int) -> None:
    """Also further out than the image is large, where numpy mirrors again and again."""
    image = picture(height, width)
    padded = np.pad(image, ((50, 50), (50, 50), (0, 0)), mode="reflect")
    pixels = apply_to_image(View(top, left, size, size, False), image, size)
    expected = padded[50 + top : 50 + top + size, 50 + left : 50 + left + size]
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)


@given(index=WORDS, policy=st.sampled_from(sorted(POLICIES)))
def test_flip_mirrors_and_twice_is_nothing(index: int, policy: str) -> None:
    image = picture(37, 41)
    drawn = draw_view(policy, 32, 0, 0, index, 37, 41)
    plain, flipped = (
        apply_to_image(replace(drawn, flip=flip), image, 32) for flip in (False, True)
    )
    assert torch.equal(flipped.flip(-1), plain)
    assert not torch.equal(flipped, plain)


@pytest.mark.parametrize("side", [1, 32])
def test_pixels_share_no_memory_with_the_image(side: int) -> None:
    image = picture(side, side)
    pixels = apply_to_image(View(0, 0, side, side, False), image, side)
    before = pixels.clone()
    image[:] = ~image
    assert torch.equal(pixels, before)


def test_a_read_only_image_will_do() -> None:
    image = picture(32, 32)
    image.setflags(write=False)
    pixels = apply_to_image(View(0, 0, 32, 32, False), image, 32)
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), image)
