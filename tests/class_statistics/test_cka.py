"""Distances between classes: hand-computed values, a slow reference, and classes of few samples."""

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.targets import cka
from shared.targets.cka import LEAST, LogitsOfClasses, compared, most_samples
from tests.class_statistics.caches import slow_distance


def distance_of(
    features: list[Tensor], most: int = 100, order: list[int] | None = None, block: int = 1000
) -> tuple[Tensor, int]:
    """Of features (n_i, C) of each class, whose samples stand in the source class by class;
    `order`: the samples as they are given."""
    counts = [len(rows) for rows in features]
    labels = np.repeat(np.arange(len(features)), counts)
    logits = torch.cat(features)
    index = np.array(order if order is not None else range(len(labels)), np.int64)
    kept = LogitsOfClasses(len(features), most)
    for part in np.split(index, range(block, len(index), block)):
        kept.add(part, labels[part], logits[part])
    return kept.distance()


def random_features(counts: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(counts))
    classes = len(counts)
    mixing = torch.randn(classes, classes, classes, generator=generator)
    return [
        torch.randn(n, classes, generator=generator) @ m
        for n, m in zip(counts, mixing, strict=True)
    ]


def test_by_hand() -> None:
    """Of centred logits (1, -1), (-1, 1), 0, 0 in the first class; the others have them in the same
    rows, in other rows, and half of each: inner products 1, 0 and 1/2 of the Gram matrices."""
    first = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0], [0, 0, 0]])
    second = torch.tensor([[0.0, 0, 0], [0, 0, 0], [3, 0, -3], [-3, 0, 3]])
    third = torch.tensor([[0.0, 5, -5], [0, -5, 5], [0, 5, -5], [0, -5, 5]])
    found, many = distance_of([first, second, third])
    assert many == 4
    # <K1, K2> = 0. K1 = 2 [1 -1; -1 1] beside zeros, K3 = 50 x (signs): 4 of 16 entries agree, and
    # the norms are 2 and 4 times those of one entry.
    assert found.tolist() == [[0, 1, 0.5], [1, 0, 0.5], [0.5, 0.5, 0]]


@pytest.mark.parametrize("slice_bytes", [1, 3000, 1 << 28])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equals_the_slow_computation(
    slice_bytes: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cka, "MOST_BYTES", slice_bytes)
    features = random_features([40, 40, 40, 40])
    found, many = distance_of(features, block=block)
    assert many == 40 and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), slow_distance(features), rtol=0, atol=1e-6)
    assert torch.equal(found, found.T) and not found.diagonal().any()
    assert 0.02 < found.max() - found[0, 1:].min() < 1  # or the comparison would prove little


def test_the_first_samples_of_the_source_are_compared_in_any_order() -> None:
    """View shards are permuted."""
    features = random_features([30, 90, 50])
    expected, many = distance_of([rows[:20] for rows in features])
    shuffled = np.random.default_rng(0).permutation(170).tolist()
    for order in (None, shuffled, list(range(170))[::-1]):
        found, n = distance_of(features, most=20, order=order, block=13)
        assert n == many == 20 and torch.equal(found, expected)


def test_a_constant_per_row_changes_nothing() -> None:
    """Logits are cached relative to their maximum by some codecs, and by others not."""
    features = random_features([40, 40, 40])
    relative = [rows - rows.max(1, keepdim=True).values for rows in features]
    torch.testing.assert_close(
        distance_of(relative)[0], distance_of(features)[0], rtol=0, atol=2e-6
    )


def test_a_class_of_few_samples_repeats_them() -> None:
    few, many, more = random_features([5, 70, 90])
    found, n = distance_of([few, many, more])
    assert n == LEAST == 64
    repeated = few.repeat(13, 1)[:64]
    expected = slow_distance([repeated, many[:64], more[:64]])
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_a_class_that_says_nothing_is_far_from_all() -> None:
    rows = random_features([40] * 5)
    same = torch.full((40, 5), 7.25)
    found, _ = distance_of([rows[0], same, rows[2], rows[3][:1], rows[4][:0]])
    silent = [1, 3, 4]
    for label in silent:
        assert found[label].tolist() == [float(other != label) for other in range(5)]
    assert 0 < found[0, 2] < 1


@pytest.mark.parametrize(
    ("filled", "most", "expected"),
    [
        ([732, 732, 732], 732, 732),  # ImageNet
        ([500, 500], 732, 500),  # CIFAR-100
        ([700, 732, 100], 732, 100),  # the smallest, as in the reference
        ([700, 732, 5], 732, LEAST),  # five would say little of the others
        ([20, 3, 1, 0], 732, 20),
        ([1, 1], 732, 1),
        ([300, 400], 16, 16),
    ],
)
def test_how_many_samples_are_compared(filled: list[int], most: int, expected: int) -> None:
    assert compared(filled, most) == expected


def test_memory_is_bounded() -> None:
    assert most_samples(732, 1000) == 732
    assert most_samples(732, 2000) == (4 << 30) // (4 * 2000**2) < 732
    assert most_samples(732, 21_841) == 0
    assert most_samples(2, 10_000) == 2
