"""Which view is drawn: promised values, a function of seed, number and index, inside the image."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.pixels import policy as policy_module
from shared.pixels.policy import draw_view
from shared.pixels.view import View
from tests.pictures import CIFAR, IMAGENET, PANORAMA, SIDES, WORDS


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
