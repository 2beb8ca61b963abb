"""Losses on maps as their papers write them: pixel by pixel, in float64; and by hand."""

import math
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.losses.map_cases import LOSSES, cell_pixels, head, maps, student_maps, value
from train.losses import AT, CATKD, FitNets, Loss, MapMatching, ResidualKD, WKDMaps

Maps = tuple[np.ndarray, ...]


def attention(stage: np.ndarray) -> list[float]:
    channels, height, width = stage.shape
    squares = [
        sum(float(stage[c, y, x]) ** 2 for c in range(channels)) / channels
        for y in range(height)
        for x in range(width)
    ]
    norm = math.sqrt(sum(square**2 for square in squares))
    return [square / norm for square in squares]


def mean_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    pairs = list(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def huber(x: float, beta: float) -> float:
    return x * x if abs(x) <= beta else 2 * beta * abs(x) - beta * beta


def wkd(ours: np.ndarray, theirs: np.ndarray, beta: float | None) -> float:
    total = 0.0
    for c in range(len(ours)):
        for row in range(4):
            for column in range(4):
                a, b = (cell_pixels(side[c], row, column) for side in (ours, theirs))
                apart = statistics.fmean(a) - statistics.fmean(b)
                x = apart**2 if beta is None else huber(apart / (0.5 + c / 4), beta)
                d, e = (math.sqrt(statistics.variance(pixels) + 1e-5) for pixels in (a, b))
                total += 2 * x + (d - e) ** 2
    return total / 16


def cams(ours: np.ndarray, theirs: np.ndarray) -> float:
    total = 0.0
    weights = [head(seed).weight.detach().double().numpy() for seed in (7, 9)]
    for row in range(4):
        for column in range(4):
            a, b = (
                weight @ [statistics.fmean(cell_pixels(channel, row, column)) for channel in side]
                for weight, side in zip(weights, (ours, theirs), strict=True)
            )
            total += float(((a - b) ** 2).sum())
    return total / (16 * len(weights[0]))


def slow(loss: Loss, ours: Maps, theirs: Maps) -> float:
    """Of one sample: (C, H, W) a stage."""
    match loss:
        case AT(stages):
            return sum(
                mean_error(np.array(attention(ours[s - 1])), np.array(attention(theirs[s - 1])))
                for s in stages
            )
        case FitNets(stage, None) | MapMatching(stage):
            return mean_error(ours[stage - 1], theirs[stage - 1])
        case FitNets(stage, beta):
            spread = (0.5 + np.arange(len(ours[stage - 1])) / 4)[:, None, None]
            apart = ((ours[stage - 1] - theirs[stage - 1]) / spread).ravel().tolist()
            return sum(huber(x, beta) for x in apart) / len(apart)
        case ResidualKD(stages):
            student = sum(mean_error(ours[s - 1], theirs[s - 1]) for s in stages)
            assistant = sum(
                mean_error(ours[s + 1] - ours[s - 1], theirs[s - 1] - ours[s - 1]) for s in stages
            )
            return student + assistant
        case WKDMaps(beta):
            return wkd(ours[-1], theirs[-1], beta)
        case CATKD():
            return cams(ours[-1], theirs[-1])
    raise AssertionError(loss)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("samples", [1, 3])
def test_equals_the_slow_reference(loss: Loss, samples: int) -> None:
    ours, theirs = student_maps(loss, 1, samples), maps(5, samples)
    found = value(loss, ours, theirs)
    assert found.shape == () and found.dtype == torch.float32

    def sample(stages: tuple[Tensor, ...], i: int) -> Maps:
        return tuple(stage[i].double().numpy() for stage in stages)

    expected = sum(slow(loss, sample(ours, i), sample(theirs, i)) for i in range(samples)) / samples
    assert found.item() == pytest.approx(expected, rel=2e-5)


def test_attention_by_hand() -> None:
    """Squares (1, 0, 0, 0) and (3, 4, 0, 0) / 5: (0.4^2 + 0.8^2) / 4 pixels; the other stage is the
    same on both sides."""
    ours = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]] * 2])
    theirs = torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]] * 2]).sqrt()
    same = torch.ones(1, 3, 2, 2)
    assert value(AT((1, 2)), (ours, same), (theirs, same)).item() == pytest.approx(0.2, abs=1e-6)


def test_cells_by_hand() -> None:
    """A map of 8 x 8 of columns 0 and 2 beside one of 1: cells of 4 pixels, whose means agree, and
    whose unbiased variance is 4 / 3 beside 0; 3 channels, 16 cells, divided by 16."""
    ours = torch.tensor([0.0, 2.0]).repeat(1, 3, 8, 4)
    theirs = torch.ones(1, 3, 8, 8)
    same = torch.ones(1, 2, 8, 8)
    apart = math.sqrt(4 / 3 + 1e-5) - math.sqrt(1e-5)
    found = value(WKDMaps(), (same, ours), (same, theirs)).item()
    assert found == pytest.approx(3 * apart**2, rel=1e-5)


def test_cells_of_a_teacher_with_another_side() -> None:
    """`side` tells how many pixels the teacher's cells have: 9 each, where the student's have 4."""
    ours, theirs = maps(1, 2, (8, 8)), maps(5, 2, (8, 10))
    expected = [
        wkd(ours[-1][i].double().numpy(), theirs[-1][i].double().numpy(), None) for i in range(2)
    ]
    known, guessed = (value(WKDMaps(side=side), ours, theirs).item() for side in (10, None))
    assert known == pytest.approx(sum(expected) / 2, rel=2e-5)
    assert abs(guessed - known) > 1e-3 * known


def test_cells_of_a_single_pixel_have_no_deviation() -> None:
    ours = tuple(stage.requires_grad_() for stage in maps(1, 2, (8, 3)))
    found = value(WKDMaps(), ours, maps(5, 2, (8, 3)))
    found.backward()
    assert math.isfinite(found.item()) and ours[-1].grad.isfinite().all()
