"""CE with smoothed labels, against its formula."""

import math

import pytest
import torch

from train.batch import Batch, StudentOutputs
from train.losses import CE


def ce(smoothing: float, logits: torch.Tensor, labels: list[int]) -> float:
    batch = Batch(torch.tensor(labels), None, None, float(len(labels)), 0.0)
    return CE(label_smoothing=smoothing)(StudentOutputs(logits, ()), batch).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_by_hand(smoothing: float) -> None:
    """Two samples of three classes, their probabilities 1/2, 1/4, 1/4."""
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]] * 2)
    high, low = math.log(2.0), math.log(4.0)
    even = (high + 2 * low) / 3
    right, wrong = [(1 - smoothing) * own + smoothing * even for own in (high, low)]
    assert ce(smoothing, logits, [0, 1]) == pytest.approx((right + wrong) / 2, rel=1e-6)


def test_without_smoothing_it_is_the_loss_that_it_was() -> None:
    assert CE() == CE(label_smoothing=0.0)
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.cross_entropy(logits, torch.arange(8) % 5)
    assert ce(0.0, logits, [i % 5 for i in range(8)]) == pytest.approx(plain.item(), rel=1e-6)
