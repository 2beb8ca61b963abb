"""Every loss, and random outputs of students with batches for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from shared.targets.targets import Head
from tests.said import said
from train.batch import Batch, Fixed, StudentOutputs
from train.losses import (
    CE,
    DKD,
    IKL,
    KD,
    NKD,
    WTTM,
    ChannelDistillation,
    GuidedKD,
    Loss,
    RobustChannelDistillation,
    TargetClass,
    WKDLogits,
)

LOSSES_OF_LOGITS: list[Loss] = [
    *(KD(2.0, standardise=True), GuidedKD(2.0, standardise=True), DKD(), DKD(0.3, 2.0, 4.0)),
    *(TargetClass(), NKD(), NKD(0.7, 2.0), WTTM(0.2), WTTM(0.2, weighted=False), WTTM(1.5)),
    *(IKL(), IKL(0.3, 2.0, 4.0), WKDLogits(), WKDLogits(1.0, 0.2, 3, 0.0, "fc")),
]
LOSSES: list[Loss] = [
    *(CE(), KD(1.0), KD(4.0), GuidedKD(1.0), GuidedKD(4.0), ChannelDistillation()),
    *(RobustChannelDistillation(), RobustChannelDistillation(beta=0.3)),
    *LOSSES_OF_LOGITS,
]
WIDTHS = (3, 4)  # of the stages of a random case
quick = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class SomeClasses:
    """Class statistics for C classes, see shared/targets/classes.py."""

    prior: Tensor  # (C, C)
    distance: Tensor  # (C, C)


def fixed_for(classes: int, widths: Sequence[int] = ()) -> Fixed:
    """What is the same in every step, made up for so many classes and widths of stages."""
    rng = torch.Generator().manual_seed(classes)
    prior = torch.randn(classes, classes, generator=rng).mul(2).softmax(1)
    distance = torch.rand(classes, classes, generator=rng).triu(1)
    return Fixed(
        spread=tuple(0.5 + torch.arange(width) / 4 for width in widths),
        head=Head(torch.randn(classes, 4, generator=rng), torch.randn(classes, generator=rng)),
        classes=SomeClasses(prior, distance + distance.T),
    )


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
        fixed=fixed_for(logits.shape[1], [means.shape[1] for means in channels]),
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
