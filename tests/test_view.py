"""Views: distribution against torchvision's, promised values, pixels against torchvision's."""

import math
from dataclasses import replace
from functools import cache
from io import BytesIO
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as torchvision_functional

from shared.choices import POLICIES
from shared.errors import InputError
from shared.pixels import policy as policy_module
from shared.pixels.decode import MAX_PIXELS, decode
from shared.pixels.policy import draw_view
from shared.pixels.view import View, apply, apply_to_image, shorter_side, stored_view

DRAWS = 20_000
# Two-sample Kolmogorov-Smirnov at p = 1e-4, sqrt(ln(2 / p) / DRAWS). All draws are seeded, so that
# a test that passes once passes always.
KS_BOUND = math.sqrt(math.log(2 / 1e-4) / DRAWS)
IMAGENET, CIFAR, PANORAMA = (375, 500), (32, 32), (60, 1000)
SIDES = st.integers(1, 5000)
WORDS = st.integers(0, 2**64 - 1)


def picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Noise, in which one pixel off is seen."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def our_boxes(height: int, width: int) -> npt.NDArray[np.float64]:
    views = (draw_view("random-resized-crop", 224, 7, 3, i, height, width) for i in range(DRAWS))
    return np.array([(v.top, v.left, v.height, v.width) for v in views], dtype=np.float64)


@cache
def torchvision_boxes(height: int, width: int) -> npt.NDArray[np.float64]:
    transform = RandomResizedCrop(224)
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [
            transform.get_params(image, transform.scale, transform.ratio) for _ in range(DRAWS)
        ]
    return np.array(boxes, dtype=np.float64)


def describe(
    boxes: npt.NDArray[np.float64], height: int, width: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Share of the image, ratio, and position in the room left (1/2 without any)."""
    top, left, h, w = boxes.T
    down, across = height - h, width - w
    return {
        "area": h * w / (height * width),
        "ratio": w / h,
        "top": np.where(down > 0, top / np.maximum(down, 1), 0.5),
        "left": np.where(across > 0, left / np.maximum(across, 1), 0.5),
    }


def ks_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Largest gap between the two empirical distribution functions."""
    values = np.unique(np.concatenate([a, b]))
    below_a = np.searchsorted(np.sort(a), values, "right") / len(a)
    below_b = np.searchsorted(np.sort(b), values, "right") / len(b)
    return float(np.abs(below_a - below_b).max())


def check_like_torchvision(height: int, width: int) -> None:
    ours = describe(our_boxes(height, width), height, width)
    theirs = describe(torchvision_boxes(height, width), height, width)
    for name, values in ours.items():
        assert ks_distance(values, theirs[name]) < KS_BOUND, name


@pytest.mark.parametrize("shape", [IMAGENET, CIFAR, (500, 90)])
def test_random_resized_crop_is_distributed_as_torchvisions(shape: tuple[int, int]) -> None:
    check_like_torchvision(*shape)


@pytest.mark.parametrize(
    ("constant", "value", "caught"),
    [("SCALE", (0.12, 1.0), "area"), ("RATIO", (3 / 4, 1.4), "ratio")],
)
def test_the_check_against_torchvision_can_fail(
    monkeypatch: pytest.MonkeyPatch, constant: str, value: tuple[float, float], caught: str
) -> None:
    monkeypatch.setattr(policy_module, constant, value)
    with pytest.raises(AssertionError, match=caught):
        check_like_torchvision(*IMAGENET)


@pytest.mark.parametrize("policy", ["random-resized-crop", "pad-crop"])
def test_neighbours_in_seed_number_and_index_are_independent(policy: str) -> None:
    """Flip and position of a view say nothing of those of the next one along any of the three."""
    bound = 4 / math.sqrt(2000)  # four standard deviations of a correlation of independent values
    base = [draw_view(policy, 32, s, s + 1, 3 * s, 64, 64) for s in range(2000)]
    flips = np.array([v.flip for v in base], dtype=float)
    tops = np.array([v.top for v in base], dtype=float)
    assert abs(flips.mean() - 0.5) < bound / 2
    assert abs(np.corrcoef(flips, tops)[0, 1]) < bound
    for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        moved = [
            draw_view(policy, 32, s + step[0], s + 1 + step[1], 3 * s + step[2], 64, 64)
            for s in range(2000)
        ]
        assert abs(np.corrcoef(flips, [v.flip for v in moved])[0, 1]) < bound, step
        assert abs(np.corrcoef(tops, [v.top for v in moved])[0, 1]) < bound, step


def test_seed_number_and_index_are_never_added() -> None:
    edges = (0, 1, 2, 3, 2**32, 2**63, 2**64 - 2, 2**64 - 1)
    views = {
        draw_view("random-resized-crop", 224, *words, 100_000, 100_000)
        for words in product(edges, repeat=3)
    }
    assert len(views) == len(edges) ** 3


def test_order_does_not_matter() -> None:
    forward = [draw_view("pad-crop", 32, 5, 0, i, 40, 40) for i in range(100)]
    backward = [draw_view("pad-crop", 32, 5, 0, i, 40, 40) for i in reversed(range(100))]
    assert forward == backward[::-1]


def philox4x64_10(key: list[int], counter: list[int]) -> list[int]:
    """Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011), section 3.3."""
    mask = 2**64 - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & mask, (p0 >> 64) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [c0, c1, c2, c3]


@given(seed=WORDS, number=WORDS, index=WORDS)
def test_random_numbers_are_philox_of_the_words_documented(
    seed: int, number: int, index: int
) -> None:
    words = [
        word
        for block in range(1, 12)  # NumPy counts up before a block, not after
        for word in philox4x64_10([seed, 0x76696577], [block, 0, number, index])
    ]
    expected = [(word >> 11) / 2**53 for word in words[:41]]
    assert policy_module._uniforms(seed, number, index) == expected


GOLDEN = [
    ("random-resized-crop", (0, 0, 0), IMAGENET, View(127, 18, 157, 138, False)),
    ("random-resized-crop", (1, 0, 0), IMAGENET, View(38, 70, 303, 389, True)),
    ("random-resized-crop", (0, 1, 0), IMAGENET, View(1, 51, 324, 332, True)),
    ("random-resized-crop", (0, 0, 1), IMAGENET, View(90, 11, 243, 306, True)),
    ("random-resized-crop", (2**64 - 1, 3, 1281166), IMAGENET, View(84, 3, 198, 215, False)),
    ("random-resized-crop", (0, 0, 0), CIFAR, View(12, 1, 12, 10, False)),
    ("random-resized-crop", (1, 0, 0), PANORAMA, View(0, 460, 60, 80, True)),
    ("pad-crop", (0, 0, 0), CIFAR, View(-4, -2, 32, 32, False)),
    ("pad-crop", (1, 0, 0), CIFAR, View(1, 4, 32, 32, True)),
    ("pad-crop", (0, 1, 0), CIFAR, View(0, 0, 32, 32, True)),
    ("pad-crop", (0, 0, 1), CIFAR, View(-1, 4, 32, 32, True)),
    ("pad-crop", (2**64 - 1, 3, 1281166), CIFAR, View(-3, 1, 32, 32, False)),
    ("pad-crop", (0, 0, 0), IMAGENET, View(9, 130, 32, 32, False)),
    ("center", (0, 0, 0), IMAGENET, View(23, 86, 328, 328, False)),
    ("center", (1, 2, 3), CIFAR, View(0, 0, 32, 32, False)),
    ("center", (0, 0, 0), PANORAMA, View(4, 474, 52, 52, False)),
    ("resize-center", (0, 0, 0), IMAGENET, View(0, 0, 375, 500, False, True)),
    ("resize-center", (1, 2, 3), CIFAR, View(0, 0, 32, 32, False, True)),
    ("resize-center", (0, 0, 0), PANORAMA, View(0, 0, 60, 1000, False, True)),
]


@pytest.mark.parametrize(("policy", "words", "shape", "expected"), GOLDEN)
def test_promised_views(
    policy: str, words: tuple[int, int, int], shape: tuple[int, int], expected: View
) -> None:
    """Caches on disk hold these: a change here makes `--views 10` over an old cache a mixture."""
    size = 32 if policy == "pad-crop" or shape == CIFAR else 224
    assert draw_view(policy, size, *words, *shape) == expected


@given(
    height=SIDES,
    width=SIDES,
    index=WORDS,
    policy=st.sampled_from(["random-resized-crop", "resize-center", "center"]),
)
def test_boxes_lie_inside_the_image(height: int, width: int, index: int, policy: str) -> None:
    view = draw_view(policy, 224, 0, 0, index, height, width)
    assert 0 <= view.top < view.top + view.height <= height
    assert 0 <= view.left < view.left + view.width <= width


@given(height=SIDES, width=SIDES, size=st.integers(1, 512))
def test_center_is_the_field_of_view_of_resize_256_crop_224(
    height: int, width: int, size: int
) -> None:
    view = draw_view("center", size, 0, 0, 0, height, width)
    share = 1 if size <= 64 else 224 / 256
    assert view.height == view.width
    assert abs(view.height - share * min(height, width)) <= 0.5
    assert abs(2 * view.top + view.height - height) <= 1  # central, to half a pixel
    assert abs(2 * view.left + view.width - width) <= 1
    assert not view.flip


def test_pad_crop_reaches_every_position_equally_often() -> None:
    views = [draw_view("pad-crop", 32, 0, 0, i, 32, 33) for i in range(DRAWS)]
    for places, first, last in (([v.top for v in views], -4, 4), ([v.left for v in views], -4, 5)):
        values, counts = np.unique(places, return_counts=True)
        assert values.tolist() == list(range(first, last + 1))
        expected = DRAWS / len(values)
        assert np.abs(counts - expected).max() < 4 * math.sqrt(expected)
    assert {(v.height, v.width) for v in views} == {(32, 32)}


def test_pad_crop_of_the_smallest_image_is_the_padded_image() -> None:
    view = draw_view("pad-crop", 32, 0, 0, 0, 24, 24)
    assert (view.top, view.left) == (-4, -4)


@pytest.mark.parametrize(
    ("policy", "seed", "shape", "text"),
    [
        (
            "centre",
            0,
            CIFAR,
            "--policy must be one of random-resized-crop, pad-crop, resize-center, center, "
            "got 'centre'",
        ),
        ("center", -1, CIFAR, "--seed must be at least 0 and below 2**64, got -1"),
        ("center", 2**64, CIFAR, f"--seed must be at least 0 and below 2**64, got {2**64}"),
        (
            "pad-crop",
            0,
            (23, 40),
            "--policy pad-crop at --size 32 needs images of at least 24 x 24 pixels, got 40 x 23: "
            "choose a smaller --size or another policy",
        ),
    ],
)
def test_errors(policy: str, seed: int, shape: tuple[int, int], text: str) -> None:
    with pytest.raises(InputError) as caught:
        draw_view(policy, 32, seed, 0, 0, *shape)
    assert str(caught.value) == text


@pytest.mark.parametrize("policy", ["random-resized-crop", "center"])
@pytest.mark.parametrize("shape", [IMAGENET, (500, 333), (40, 60), (224, 224), (1, 1)])
@pytest.mark.parametrize("size", [32, 224])
def test_pixels_equal_torchvisions(policy: str, shape: tuple[int, int], size: int) -> None:
    image = picture(*shape)
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    for index in range(5):
        view = draw_view(policy, size, 0, 0, index, *shape)
        expected = torchvision_functional.resized_crop(
            planes, view.top, view.left, view.height, view.width, [size, size], antialias=True
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
    image: npt.NDArray[np.uint8], size: int = 224, shorter: int = 256
) -> torch.Tensor:
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    resized = torchvision_functional.resize(planes, [shorter], antialias=True)
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
