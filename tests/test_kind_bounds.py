"""The bounds of codecs of added kinds: a wrong decode breaks them, and a right one comes near."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from shared.models.staged import Outputs
from shared.targets.bounds import error_bound, error_bound_of_converted
from shared.targets.codecs import CODECS
from shared.targets.kinds import kind_of
from tests.coded_kinds import (
    alone,
    beyond,
    cases,
    every_codec,
    every_kind,
    quick,
    random_case,
    round_trip,
)

CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a number is off": lambda values: set_first(values, values[0].flatten()[0] * 1.2),
    "a number is lost": lambda values: set_first(values, torch.tensor(0.0)),
    "a number is NaN": lambda values: set_first(values, torch.tensor(math.nan)),
    "rows are swapped": lambda values: values.flip(0),
    "numbers are shifted": lambda values: values.flatten(1).roll(1, 1).view_as(values),
    "the axes are exchanged": lambda values: values.flatten(1).flip(1).view_as(values),
}


def set_first(values: Tensor, number: Tensor) -> Tensor:
    changed = values.clone()
    changed.view(-1)[0] = number
    return changed


@every_codec
@every_kind
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_bound_finds_a_corrupted_decode(codec: str, kind: str, corruption: str) -> None:
    """Negative control: the round trips of test_codecs_of_kinds.py could fail."""
    for seed in range(4):
        # No zeros: times anything they would stay what they were.
        targets = {kind: random_case(kind, 4, seed)[kind] + 0.5}
        encoding = alone(codec, kind)
        decoded = round_trip(encoding, targets)[kind]
        bound = error_bound(encoding, targets, None)[kind]
        assert beyond(decoded, targets[kind], bound) == 0
        assert beyond(CORRUPTIONS[corruption](decoded), targets[kind], bound) > 0


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "exact"])
@every_kind
def test_bounds_are_no_larger_than_needed(codec: str, kind: str) -> None:
    """Some number comes near its bound, so that a bound twice as small would be broken."""
    encoding, targets = alone(codec, kind), random_case(kind, 400)
    error = (round_trip(encoding, targets)[kind].double() - targets[kind].double()).abs()
    assert 0.8 < (error / error_bound(encoding, targets, None)[kind]).max().item() <= 1


@every_kind
@quick
@given(data=st.data())
def test_tiny_of_half_is_within_the_bound_of_converted(kind: str, data: st.DataObject) -> None:
    """And somewhere not in that of tiny alone: see below."""
    targets = data.draw(cases(kind))
    tiny = alone("tiny", kind)
    decoded = round_trip(tiny, round_trip(alone("half", kind), targets))[kind]
    assert beyond(decoded, targets[kind], error_bound_of_converted(tiny, targets, None)[kind]) == 0


def test_tiny_of_half_is_off_by_more_than_tiny() -> None:
    """Numbers near the largest, where tiny's own error may be small."""
    targets = random_case("embedding", 4000)
    tiny = alone("tiny", "embedding")
    decoded = round_trip(tiny, round_trip(alone("half", "embedding"), targets))["embedding"]
    functions = error_bound, error_bound_of_converted
    own, wide = (bound(tiny, targets, None)["embedding"] for bound in functions)
    assert beyond(decoded, targets["embedding"], own) > 0
    assert beyond(decoded, targets["embedding"], wide) == 0


@every_codec
@quick
@given(
    npst.arrays(np.float32, (3, 2, 4, 4), elements=st.floats(0, 100, width=32)),
    st.sampled_from([1.0, 1e-3, 1e4]),
)
def test_attention_is_of_length_1_before_and_after(
    codec: str,
    maps: np.ndarray,
    scale: float,  # type: ignore[type-arg]
) -> None:
    """Read of maps after ReLU, one of which is 0: none of its numbers is negative, and its length
    is 1, or 0 where the map's is; what a codec makes of it is as near as its bound says."""
    stage = torch.from_numpy(maps) * scale
    stage[0] = 0
    outputs = Outputs((stage,) * 3, (), torch.zeros(3, 5), torch.zeros(3, 7))
    attention = kind_of("attention3").read(outputs)
    assert attention.shape == (3, 16) and attention.dtype == torch.float32
    assert (attention >= 0).all() and attention[0].tolist() == [0.0] * 16
    length = attention.double().norm(dim=1)
    large = stage.flatten(1).amax(1) > 1e-4  # the square of less is lost beside normalize's 1e-12
    assert ((length - 1).abs()[large] < 1e-5).all() and (length < 1 + 1e-5).all()
    encoding, targets = alone(codec, "attention3"), {"attention3": attention}
    decoded = round_trip(encoding, targets)["attention3"]
    bound = error_bound(encoding, targets, None)["attention3"].double().norm(dim=1)
    assert (decoded >= 0).all()
    assert ((decoded.double().norm(dim=1) - length).abs() <= bound + 1e-12).all()
