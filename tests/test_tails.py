"""The tails of a teacher's channel means: what is measured, and what is told of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from precompute.tell_tails import tell_tails
from shared.targets.tails import Tails, tails_of


def slow(means: np.ndarray) -> tuple[float, float, list[float]]:
    """Of one stage (n, C), straight from the definitions."""
    n, width = means.shape
    squares = sorted(((means - means.mean(0)) ** 2).sum(1).tolist())
    share = sum(squares[-max(1, -(-n // 100)) :]) / sum(squares)
    distances = [square**0.5 for square in squares]
    farthest = distances[-1] / distances[(n - 1) // 2]
    spread = [np.std(sorted(means[:, c].tolist())[: -(-99 * n // 100)]) for c in range(width)]
    least = 0.01 * float(np.mean(spread))
    return share, farthest, [max(float(s), least) for s in spread]


@pytest.mark.parametrize("samples", [1000, 150, 37])
def test_equals_the_slow_computation(samples: int) -> None:
    generator = np.random.default_rng(samples)
    stages = [np.exp(generator.normal(0, 1 + s, (samples, 3 + s))) for s in range(3)]
    found = tails_of(tuple(torch.from_numpy(stage).float() for stage in stages))
    assert found.samples == samples
    for stage, *mine in zip(stages, found.share, found.farthest, found.spread, strict=True):
        share, farthest, spread = slow(stage.astype(np.float32).astype(np.float64))
        assert mine[0] == pytest.approx(share, rel=1e-5)
        assert mine[1] == pytest.approx(farthest, rel=1e-5)
        assert mine[2] == pytest.approx(spread, rel=1e-5)


def test_one_image_in_a_hundred_is_a_tail() -> None:
    means = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    light = tails_of((means,))
    assert light.share[0] < 0.06 and not light.are_heavy
    means[::100] += 500
    heavy = tails_of((means,))
    assert heavy.share[0] > 0.98 and heavy.are_heavy and heavy.farthest[0] > 10
    # The spread is that of the others.
    assert heavy.spread[0] == pytest.approx(light.spread[0], rel=0.05)


@pytest.mark.parametrize(
    ("means", "spread"),
    [
        (torch.ones(50, 2), (1, 1)),  # a teacher that says the same of all images
        (torch.tensor([[3.0, 4.0]]), (1, 1)),  # one image
        # A channel that never moves gets a hundredth of the mean of its stage's.
        (torch.stack([torch.arange(2.0).repeat(50), torch.zeros(100)], 1), (0.5, 0.0025)),
    ],
)
def test_no_channel_is_divided_by_zero(means: Tensor, spread: tuple[float, ...]) -> None:
    found = tails_of((means,))
    assert found.spread[0] == pytest.approx(spread, rel=0.01)
    assert all(np.isfinite([*found.share, *found.farthest]))


def test_spread_lies_where_training_runs() -> None:
    (spread,) = Tails(1, (0.1,), (2.0,), ((0.25, 0.5),)).on(torch.device("cpu"))
    assert spread.dtype == torch.float32 and spread.tolist() == [0.25, 0.5]


def test_heavy_tails_are_told_with_the_recipe_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    tell_tails(Tails(100, (0.14, 0.51, 0.9, 0.47), (3.0, 8.0, 22.0, 15.0), ((1.0,),) * 4))
    said = capsys.readouterr()
    assert said.out == (
        "tails    the farthest 1 % of images hold 0.14 0.51 0.9 0.47 of the variance of the "
        "channel means, stage by stage; the farthest lies 3 8 22 15 times as far out as the "
        "median\n"
    )
    assert said.err.startswith("NOTE: ") and "rcd" in said.err and said.err.count("\n") == 1
    tell_tails(Tails(100, (0.14, 0.2), (3.0, 8.0), ((1.0,),) * 2))
    tell_tails(Tails(99, (0.14, 0.9), (3.0, 8.0), ((1.0,),) * 2))  # one sample is more than 1 %
    assert capsys.readouterr().err == ""
