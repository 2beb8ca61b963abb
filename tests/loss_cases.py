"""Every loss, and random outputs of students with batches for them."""

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from tests.said import said
from train.batch import Batch, StudentOutputs
from train.losses import CE, KD, ChannelDistillation, GuidedKD, Loss, RobustChannelDistillation

LOSSES: list[Loss] = [
    *(CE(), KD(1.0), KD(4.0), GuidedKD(1.0), GuidedKD(4.0), ChannelDistillation()),
    *(RobustChannelDistillation(), RobustChannelDistillation(beta=0.3)),
]
WIDTHS = (3, 4)  # of the stages of a random case
quick = settings(max_examples=25, deadline=None)


def make_batch(
    labels: Tensor, logits: Tensor, channels: tuple[Tensor, ...], guided: Tensor, parts: int = 1
) -> Batch:
    """A whole step's batch; with `parts`, its counts as each of so many processes gets them."""
    return Batch(
        labels=labels,
        targets=said(logits, channels),
        guided=guided,
        count=len(labels) / parts,
        guided_count=float(guided.sum()) / parts,
        spread=tuple(0.5 + torch.arange(means.shape[1]) / 4 for means in channels),
    )


def random_case(
    seed: int, samples: int = 6, classes: int = 5, spread: float = 3.0
) -> tuple[StudentOutputs, Batch]:
    rng = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(samples, width, generator=rng) * spread

    student = StudentOutputs(normal(classes), tuple(map(normal, WIDTHS)))
    labels = torch.randint(classes, (samples,), generator=rng)
    guided = torch.rand(samples, generator=rng) < 0.6
    return student, make_batch(labels, normal(classes), tuple(map(normal, WIDTHS)), guided)


def assert_near(got: Tensor, expected: Tensor) -> None:
    """torch.testing.assert_close takes five seconds to import what it needs."""
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), 1e-4, 1e-5)


cases = st.builds(
    random_case,
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 7),
    classes=st.integers(2, 6),
    spread=st.sampled_from([0.1, 3.0, 10.0]),
)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)
