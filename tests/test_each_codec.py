"""What each codec keeps and refuses: exact every bit, half the best class, tiny largest and 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.errors import InputError
from shared.targets.bounds import error_bound
from shared.targets.codecs import Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets
from tests.coded import HALF_MAX, STAGES, cases, encoded, quick, round_trip
from tests.said import said

# ---- exact


@quick
@given(cases("exact"))
def test_exact_is_bit_equal(case: tuple[Targets, Head]) -> None:
    given, _ = case
    decoded = round_trip("exact", given, None)
    assert given.keys() == {"logits", "channels"}
    for name, values in given.items():
        assert decoded[name].shape == values.shape
        assert decoded[name].numpy().tobytes() == values.numpy().tobytes()  # the sign of zero, too


# ---- half, and compact, which has its means


def half(logits: Tensor) -> Tensor:
    """Logits through the codec half."""
    zeros = torch.zeros(len(logits), sum(STAGES))
    return round_trip("half", {"logits": logits, "channels": zeros}, None)["logits"]


@pytest.mark.parametrize("name", ["half", "compact"])
@pytest.mark.parametrize("largest", [65504.25, 7e4, 1e30, float("inf")])
def test_half_refuses_means_that_do_not_fit(name: str, largest: float) -> None:
    means = torch.zeros(2, sum(STAGES))
    means[1, 4] = largest
    with pytest.raises(InputError) as caught:
        encoded(name, {"logits": torch.zeros(2, 3), "channels": means})
    assert str(caught.value) == (
        f"the teacher's channel means reach {largest:g}, and this codec holds numbers up to 65504 "
        f"(fp16): use --codec exact, or check the teacher's weights"
    )


@pytest.mark.parametrize("name", ["half", "compact"])
def test_half_keeps_the_largest_mean_that_fits(name: str) -> None:
    given = said(torch.zeros(1, 3), [torch.full((1, 2), HALF_MAX)])
    assert (round_trip(name, given, None, (2,))["channels"] == HALF_MAX).all()


@quick
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=12))
def test_half_keeps_the_argmax(row: list[float]) -> None:
    """Of logits whose two largest differ by more than 2^-25, half of fp16's smallest number."""
    logits = torch.tensor([row])
    best, second = logits.topk(2).values[0].double().tolist()
    decoded = half(logits)
    assert decoded.max() == 0
    if best - second > 2.0**-25:
        assert decoded.argmax().item() == row.index(max(row))
        assert (decoded == 0).sum() == 1
    else:
        assert decoded[0, row.index(max(row))] == 0


def test_half_keeps_the_argmax_where_plain_fp16_does_not() -> None:
    """The reason for storing logits relative to their maximum: fp16 knows no 20.004."""
    logits = torch.tensor([[20.0, 20.004, -3.0]])
    assert logits.half()[0, 0] == logits.half()[0, 1]
    assert half(logits).argmax().item() == 1


def test_half_flips_no_argmax_of_many_random_rows() -> None:
    logits = torch.randn(4000, 100, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(half(logits).argmax(1), logits.argmax(1))
    assert (logits.half().float().argmax(1) != logits.argmax(1)).any()  # negative control


def test_half_keeps_probabilities() -> None:
    """Softmax cannot tell a row from the row minus its maximum."""
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)) * 5
    decoded = half(logits)
    p, q = logits.double().log_softmax(1), decoded.double().log_softmax(1)
    assert (p.exp() * (p - q)).sum(1).abs().max() < 1e-5  # nats
    assert (logits - decoded).abs().min() > 1  # the constant that was taken off


def test_half_cuts_logits_far_below_the_maximum() -> None:
    logits = torch.tensor([[0.0, -65504.0, -65505.0, -1e6]])
    assert half(logits).tolist() == [[0.0, -65504.0, -65504.0, -65504.0]]
    assert torch.equal(half(logits).softmax(1), logits.softmax(1))
    # And only there: a bound that forgave more near the maximum would hide errors.
    alone = Encoding("half", (Kept("logits", (4,), ()),))
    bound = error_bound(alone, {"logits": logits}, None)["logits"][0].tolist()
    assert bound[0] == 2.0**-25
    assert bound[1] < 33
    assert bound[3] > 1e6 - HALF_MAX


# ---- tiny


def test_tiny_refuses_negative_means() -> None:
    with pytest.raises(InputError) as caught:
        stages = [torch.ones(1, 2), -torch.ones(1, 1) / 4]
        encoded("tiny", said(torch.zeros(1, 2), stages), stages=(2, 1))
    assert str(caught.value) == (
        "the teacher's channel means reach -0.25, and codec tiny holds numbers of 0 or more, as "
        "they are after ReLU: use --codec compact"
    )


def test_tiny_keeps_each_stages_largest_and_zero() -> None:
    means = torch.tensor([[1e-3, 0.0, 5e-4, 700.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]])
    given = {"logits": torch.zeros(1, 2), "channels": means}
    fields = encoded("tiny", given)
    assert fields["channels"].tolist() == [[255, 0, 180, 255, 0, 0, 0, 0, 255, 0]]
    torch.testing.assert_close(fields["scale"], torch.tensor([[1e-3, 700.0, 0.0, 2.0]]))
    decoded = round_trip("tiny", given, None)["channels"]
    expected = means.clone()
    expected[0, 2] = 1e-3 * (180 / 255) ** 2
    torch.testing.assert_close(decoded, expected)
