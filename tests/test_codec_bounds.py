"""Bounds that codecs state: as documented, no larger than needed, broken by a wrong decode."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shared.targets.bounds import error_bound
from shared.targets.codecs import CODECS
from shared.targets.targets import Head, Targets
from tests.coded import (
    STAGES,
    encoding_of,
    errors,
    every_codec,
    make,
    random_case,
    round_trip,
    violations,
)
from tests.said import said, stages_of


def half_bound(mean: float, largest: float) -> float:
    return mean * 2**-11 + 2**-25


def tiny_bound(mean: float, largest: float) -> float:
    return math.sqrt(mean * largest) / 255 + largest / 510**2 + largest * 2**-18


BOUNDS = {
    "exact": lambda mean, largest: 0.0,
    "half": half_bound,
    "compact": half_bound,
    "tiny": tiny_bound,
}


@every_codec
def test_bounds_are_those_of_the_documentation(codec: str) -> None:
    means = torch.tensor([[0.25, 1.0, 4.0, 0.0, 9.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    head = Head(torch.zeros(1, 2), torch.zeros(1))
    given = make(codec, torch.zeros(1, 1), means, head)
    bound = stages_of(error_bound(encoding_of(codec, 1), given, head), STAGES)
    expected = BOUNDS[codec]
    first = [expected(mean, 4.0) for mean in (0.25, 1.0, 4.0)]
    assert bound[0][0].tolist() == pytest.approx(first, rel=1e-6)
    assert bound[1][0].tolist() == [pytest.approx(expected(0.0, 0.0), abs=1e-29)]
    assert bound[2][0, 0].item() == pytest.approx(expected(9.0, 9.0), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in CODECS if name != "exact"])
def test_bounds_are_no_larger_than_needed(name: str) -> None:
    """Some number comes near its bound, so that a bound twice as small would be broken."""
    stages = (8, 8, 8, 8)
    given, head = random_case(name, 400, 50, 3.0, stages=stages)
    found = errors(name, given, round_trip(name, given, head, stages), head, stages)
    shares = [(error / allowed.clamp(min=1e-25)).max().item() for error, allowed in found]
    assert all(0.8 < share <= 1 for share in shares[1:])
    # The derived logits' bound adds up worst cases.
    assert (0.1 if CODECS[name].derives_logits else 0.8) < shares[0] <= 1


def change_a_mean(decoded: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    channels = decoded["channels"].clone()
    first = sum(STAGES[:2])  # of the third stage
    channels[0, first] = change(channels[0, first])
    return {**decoded, "channels": channels}


def change_a_logit(decoded: Targets) -> Targets:
    logits = decoded["logits"].clone()
    logits[0, logits[0].argmin()] -= (logits[0].max() - logits[0].min()) * 0.5
    return {**decoded, "logits": logits}


def shift_channels(decoded: Targets) -> Targets:
    return said(decoded["logits"], [mean.roll(1, 1) for mean in stages_of(decoded, STAGES)])


CORRUPTIONS: dict[str, Callable[[Targets], Targets]] = {
    "a mean is off": lambda decoded: change_a_mean(decoded, lambda mean: mean * 1.2),
    "a mean is lost": lambda decoded: change_a_mean(decoded, torch.zeros_like),
    "a mean is NaN": lambda decoded: change_a_mean(
        decoded, lambda mean: torch.full_like(mean, torch.nan)
    ),
    "a logit is off": change_a_logit,
    "rows are swapped": lambda decoded: {name: x.flip(0) for name, x in decoded.items()},
    "channels are shifted": shift_channels,
    "classes are shifted": lambda decoded: {**decoded, "logits": decoded["logits"].roll(1, 1)},
}


@every_codec
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_bound_finds_a_corrupted_decode(codec: str, corruption: str) -> None:
    """Negative control: the round trips of test_codecs.py could fail."""
    for seed in range(8):
        given, head = random_case(codec, 4, 9, 3.0, seed)
        # No zero means: times anything they would stay what they were.
        given = make(codec, given["logits"], given["channels"] + 0.5, head)
        decoded = round_trip(codec, given, head)
        assert violations(codec, given, decoded, head) == 0
        assert violations(codec, given, CORRUPTIONS[corruption](decoded), head) > 0
