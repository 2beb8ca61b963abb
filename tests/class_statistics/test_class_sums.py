"""Centres and priors: hand-computed values, a slow reference, and classes without samples."""

from dataclasses import replace

import pytest
import torch

from shared.targets.classes import ClassStatistics, ClassSums, problems, rounded
from tests.class_statistics.caches import slow_centres, slow_prior


def test_centres_and_prior_by_hand() -> None:
    sums = ClassSums(classes=3, width=2, has_logits=True)
    labels = torch.tensor([0, 2, 0])
    logits = torch.tensor([[0.0, 0, 0], [0, 2, 0], [4, 0, 0]]).mul(torch.tensor(2.0).log())
    sums.add(labels, torch.tensor([[1.0, 2], [0, 5], [5, 6]]), logits)
    assert sums.counts.tolist() == [2, 0, 1]
    centres, prior = sums.centres(), sums.prior()
    assert centres is not None and centres.dtype == torch.float32
    # The mean of (1, 2) and (5, 6) is (3, 4), of length 5: the mean is divided, not each sample.
    torch.testing.assert_close(centres, torch.tensor([[0.6, 0.8], [0, 0], [0, 1]]))
    assert prior is not None and prior.dtype == torch.float32
    first = [(1 / 3 + 16 / 18) / 2, (1 / 3 + 1 / 18) / 2, (1 / 3 + 1 / 18) / 2]
    expected = [first, [1 / 3] * 3, [1 / 6, 4 / 6, 1 / 6]]
    torch.testing.assert_close(prior, torch.tensor(expected))


@pytest.mark.parametrize("size", [1, 7, 50])
def test_equals_the_slow_computation_whatever_the_blocks(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (50,), generator=generator)
    embedding = torch.randn(50, 6, generator=generator)
    logits = torch.randn(50, 3, generator=generator) * 4
    sums = ClassSums(3, 6, True)
    for rows in torch.arange(50).split(size):
        sums.add(labels[rows], embedding[rows], logits[rows])
    torch.testing.assert_close(
        sums.centres(), slow_centres(embedding, labels.tolist()).float(), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        sums.prior(), slow_prior(logits, labels.tolist()).float(), rtol=1e-6, atol=1e-6
    )


def test_extreme_logits_give_a_distribution() -> None:
    sums = ClassSums(2, None, True)
    sums.add(torch.tensor([0, 1]), None, torch.tensor([[3e38, -3e38], [-1e4, 1e4]]))
    assert sums.centres() is None
    assert torch.equal(sums.prior(), torch.eye(2))  # type: ignore[arg-type]


def test_rounding_keeps_twenty_bits() -> None:
    values = torch.rand(1000, dtype=torch.float64) * 10.0 ** torch.arange(-30, 20, 0.05)
    for kept in (rounded(values), rounded(-values)):
        assert ((kept.double().abs() - values) / values).abs().max() <= 2.0**-20
    noise = values * (1 + 1e-15)
    assert (rounded(values) != rounded(noise)).sum() <= 1
    assert rounded(torch.zeros(1, dtype=torch.float64)).item() == 0


def sound() -> ClassStatistics:
    eye = torch.eye(2)
    return ClassStatistics(
        0, 4, 4, torch.tensor([4, 0]), eye * torch.tensor([1.0, 0]), eye, 1 - eye
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"counts": torch.tensor([9, 0])}, "add up"),
        ({"counts": torch.tensor([5, -1])}, "add up"),
        ({"counts": torch.tensor([0, 0])}, "add up"),
        ({"centres": torch.tensor([[1.0, 1], [0, 1]])}, "length 1"),
        ({"centres": torch.tensor([[1.0, torch.nan], [0, 1]])}, "finite"),
        ({"prior": torch.tensor([[0.5, 0.4], [0, 1]])}, "distribution"),
        ({"prior": torch.tensor([[1.5, -0.5], [0, 1]])}, "distribution"),
        ({"distance": torch.tensor([[0, 0.5], [0.4, 0]])}, "symmetric"),
        ({"distance": torch.tensor([[0.1, 0.5], [0.5, 0]])}, "symmetric"),
        ({"distance": torch.tensor([[0, 1.5], [1.5, 0]])}, "symmetric"),
        ({"distance": torch.full((2, 2), torch.nan)}, "finite"),
    ],
)
def test_what_cannot_be_true_is_found(changes: dict[str, torch.Tensor], problem: str) -> None:
    assert list(problems(sound(), 4)) == []
    assert any(problem in text for text in problems(replace(sound(), **changes), 4))


def test_the_digest_depends_on_every_number() -> None:
    found = sound()
    assert found.digest == sound().digest == found.on(torch.device("cpu")).digest
    others = [
        replace(found, view=1),
        replace(found, samples_per_class=5),
        replace(found, compared=2),
        replace(found, counts=torch.tensor([3, 1])),
        replace(found, centres=None),
        *(replace(found, **{name: getattr(found, name) * 0.5}) for name in ("prior", "distance")),
    ]
    assert len({found.digest, *(other.digest for other in others)}) == 1 + len(others)
