"""How views are distributed: as torchvision's, independently, every position equally often."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from shared.pixels import policy as policy_module
from shared.pixels.policy import draw_view
from tests.pictures import CIFAR, DRAWS, IMAGENET

# Two-sample Kolmogorov-Smirnov at p = 1e-4, sqrt(ln(2 / p) / DRAWS). All draws are seeded, so that
# a test that passes once passes always.
KS_BOUND = math.sqrt(math.log(2 / 1e-4) / DRAWS)


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


def test_pad_crop_reaches_every_position_equally_often() -> None:
    views = [draw_view("pad-crop", 32, 0, 0, i, 32, 33) for i in range(DRAWS)]
    for places, first, last in (([v.top for v in views], -4, 4), ([v.left for v in views], -4, 5)):
        values, counts = np.unique(places, return_counts=True)
        assert values.tolist() == list(range(first, last + 1))
        expected = DRAWS / len(values)
        assert np.abs(counts - expected).max() < 4 * math.sqrt(expected)
    assert {(v.height, v.width) for v in views} == {(32, 32)}
