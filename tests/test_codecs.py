"""Codecs: what comes back is what went in, within the bound that each codec states."""

import math
from collections.abc import Callable, Mapping
from itertools import chain, combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.nn.functional import linear

from shared.errors import InputError
from shared.targets.arrays import relative_to_maximum
from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets, rows_of
from tests.said import said, stages_of

STAGES = (3, 1, 4, 2)
HALF_MAX = 65504.0
DERIVED = [name for name, codec in CODECS.items() if codec.derives_logits]
STORED = [name for name in CODECS if name not in DERIVED]
quick = settings(max_examples=60, deadline=None)
every_codec = pytest.mark.parametrize("codec", CODECS)


def encoding_of(codec: str, classes: int, stages: tuple[int, ...] = STAGES) -> Encoding:
    """Of logits and channel means, as most caches have it."""
    logits = Kept("logits", (classes,), stages)
    return Encoding(codec, (logits, Kept("channels", (sum(stages),), stages)))


def make(
    codec: str, logits: Tensor, channels: Tensor, head: Head, stages: tuple[int, ...] = STAGES
) -> dict[str, Tensor]:
    """Where a codec derives the logits they are what they are in a teacher: head(last means)."""
    means = torch.split(channels, list(stages), dim=1)
    if CODECS[codec].derives_logits:
        logits = linear(means[-1], head.weight, head.bias)
    return said(logits, means)


@st.composite
def cases(draw: st.DrawFn, codec: str) -> tuple[Targets, Head]:
    """Of any kind a teacher could give: channels are means after ReLU, logits anything."""
    rows = draw(st.integers(1, 5))
    classes = draw(st.sampled_from([1, 2, 7]))
    logit = st.one_of(
        st.floats(-30, 30, width=32),
        st.floats(-1e4, 1e4, width=32),
        st.floats(-(2.0**-20), 2.0**-20, width=32),
        st.floats(-(2.0**100), 2.0**100, width=32),
        st.sampled_from([0.0, -0.0, 1e4, -1e4, 65504.0, -65504.0, 65520.0]),
    )
    mean = st.one_of(
        st.floats(0, 4, width=32),
        st.floats(0, HALF_MAX, width=32),
        st.floats(0, 2.0**-14, width=32),
        st.sampled_from([0.0, HALF_MAX, 2.0**-24, 2.0**-25, 2.0**-14]),
    )
    weight = st.floats(-4, 4, width=32)

    def numbers(shape: tuple[int, ...], elements: st.SearchStrategy[float]) -> Tensor:
        return torch.from_numpy(draw(npst.arrays(np.float32, shape, elements=elements)))

    head = Head(numbers((classes, STAGES[-1]), weight), numbers((classes,), weight))
    channels = numbers((rows, sum(STAGES)), mean)
    return make(codec, numbers((rows, classes), logit), channels, head), head


def random_case(
    codec: str,
    rows: int,
    classes: int,
    scale: float,
    seed: int = 0,
    stages: tuple[int, ...] = STAGES,
) -> tuple[Targets, Head]:
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    head = Head(numbers(classes, stages[-1]) / stages[-1] ** 0.5, numbers(classes) * scale)
    channels = numbers(rows, sum(stages)).relu() * scale
    return make(codec, numbers(rows, classes) * scale, channels, head, stages), head


def encoded(codec: str, given: Targets, stages: tuple[int, ...] = STAGES) -> dict[str, Tensor]:
    encoding = encoding_of(codec, given["logits"].shape[1], stages)
    return {name: torch.from_numpy(values) for name, values in encoding.encode(given).items()}


def decoded_of(
    codec: str,
    fields: Mapping[str, Tensor],
    head: Head | None,
    classes: int,
    stages: tuple[int, ...] = STAGES,
) -> dict[str, Tensor]:
    return encoding_of(codec, classes, stages).decode(fields, head)


def round_trip(
    codec: str, given: Targets, head: Head | None, stages: tuple[int, ...] = STAGES
) -> dict[str, Tensor]:
    classes = given["logits"].shape[1]
    return decoded_of(codec, encoded(codec, given, stages), head, classes, stages)


def errors(
    codec: str, true: Targets, decoded: Targets, head: Head, stages: tuple[int, ...] = STAGES
) -> list[tuple[Tensor, Tensor]]:
    """(|decoded - true|, bound) of logits and every stage, float64; logits relative to their row's
    maximum."""
    bound = encoding_of(codec, true["logits"].shape[1], stages).bound(true, head)
    relative = (relative_to_maximum(decoded["logits"]), relative_to_maximum(true["logits"]))
    fields = [
        (*relative, bound["logits"]),
        *zip(*(stages_of(targets, stages) for targets in (decoded, true, bound)), strict=True),
    ]
    found = []
    for mine, theirs, allowed in fields:
        assert mine.shape == theirs.shape == allowed.shape
        assert mine.dtype == torch.float32
        found.append(((mine.double() - theirs.double()).abs(), allowed.double()))
    return found


def violations(
    codec: str, true: Targets, decoded: Targets, head: Head, stages: tuple[int, ...] = STAGES
) -> int:
    """How many numbers are further off than the codec's bound."""
    # Not "error > allowed", which is false for a NaN.
    return sum(
        int((~(error <= allowed)).sum())
        for error, allowed in errors(codec, true, decoded, head, stages)
    )


# ---- every codec


@every_codec
def test_name_version_and_fields(codec: str) -> None:
    assert CODECS[codec].name == codec
    assert CODECS[codec].version >= 1
    given, _ = random_case(codec, 3, 7, 1.0)
    encoding = encoding_of(codec, 7)
    found = {name: (str(v.dtype), v.shape) for name, v in encoding.encode(given).items()}
    fields = encoding.fields()
    assert list(found.items()) == [
        (name, (dtype, (3, *shape))) for name, (dtype, shape) in fields.items()
    ]
    assert ("logits" in fields) != CODECS[codec].derives_logits
    assert encoding.derives_logits == CODECS[codec].derives_logits


@every_codec
@quick
@given(data=st.data())
def test_round_trip_is_within_the_bound(codec: str, data: st.DataObject) -> None:
    given, head = data.draw(cases(codec))
    assert violations(codec, given, round_trip(codec, given, head), head) == 0


@every_codec
@pytest.mark.parametrize("classes", [1, 2, 1000, 21843])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3, 1.0, 1e4])
def test_round_trip_of_many_classes_and_scales(codec: str, classes: int, scale: float) -> None:
    """Scale 0: all channels and logits zero; 1e4: logits that differ by tens of thousands."""
    given, head = random_case(codec, 2, classes, scale)
    decoded = round_trip(codec, given, head)
    assert violations(codec, given, decoded, head) == 0
    if scale == 0:
        assert not decoded["channels"].any()


@every_codec
def test_round_trip_of_a_resnet50s_widths(codec: str) -> None:
    stages = (256, 512, 1024, 2048)
    given, head = random_case(codec, 20, 1000, 1.0, stages=stages)
    decoded = round_trip(codec, given, head, stages)
    assert violations(codec, given, decoded, head, stages) == 0


@every_codec
@quick
@given(data=st.data())
def test_any_rows_decode_alone(codec: str, data: st.DataObject) -> None:
    """In any order, also twice: the rows that a batch gathers."""
    given, head = data.draw(cases(codec))
    last, classes = len(given["logits"]) - 1, given["logits"].shape[1]
    rows = torch.tensor(data.draw(st.lists(st.integers(0, last), min_size=1, max_size=8)))
    fields = encoded(codec, given)
    whole = decoded_of(codec, fields, head, classes)
    some = decoded_of(codec, rows_of(fields, rows), head, classes)
    assert torch.equal(some["channels"], whole["channels"][rows])
    if CODECS[codec].derives_logits:  # a matrix product's last bits may depend on its height
        torch.testing.assert_close(some["logits"], whole["logits"][rows], rtol=1e-5, atol=1.0)
    else:
        assert torch.equal(some["logits"], whole["logits"][rows])
    # Encoding rows alone, too, gives the same bytes.
    for name, values in encoded(codec, rows_of(given, rows)).items():
        assert values.numpy().tobytes() == fields[name][rows].numpy().tobytes()


@every_codec
@pytest.mark.parametrize(
    "needs",
    list(chain.from_iterable(combinations(["channels", "logits", "guided"], n) for n in range(4))),
)
def test_the_needed_fields_are_enough(codec: str, needs: tuple[str, ...]) -> None:
    given, head = random_case(codec, 3, 7, 1.0)
    fields = encoded(codec, given)
    whole = decoded_of(codec, fields, head, 7)
    names = encoding_of(codec, 7).needed(frozenset(needs))
    assert set(names) <= set(fields)
    if not {"logits", "channels"} & set(needs):
        assert names == []
        return
    part = decoded_of(codec, {name: fields[name] for name in names}, head, 7)
    for name in {"logits", "channels"} & set(needs):
        assert torch.equal(part[name], whole[name])


@pytest.mark.parametrize("name", STORED)
def test_one_field_alone_decodes(name: str) -> None:
    given, _ = random_case(name, 3, 7, 1.0)
    fields = encoded(name, given)
    both = decoded_of(name, fields, None, 7)
    logits = decoded_of(name, {"logits": fields["logits"]}, None, 7)
    assert torch.equal(logits["logits"], both["logits"])
    assert logits.keys() == {"logits"}
    channels = decoded_of(name, {"channels": fields["channels"]}, None, 7)
    assert channels.keys() == {"channels", "embedding"}
    assert torch.equal(channels["channels"], both["channels"])


@pytest.mark.parametrize("name", DERIVED)
def test_derived_logits_are_the_head_of_the_decoded_means(name: str) -> None:
    given, head = random_case(name, 16, 7, 1.0)
    decoded = round_trip(name, given, head)
    last = stages_of(decoded, STAGES)[-1]
    assert torch.equal(decoded["logits"], linear(last, head.weight, head.bias))
    without = round_trip(name, given, None)
    assert "logits" not in without
    assert torch.equal(without["channels"], decoded["channels"])


@every_codec
def test_stages_are_cut_where_they_were_joined(codec: str) -> None:
    """Numbers that every codec keeps: the largest of its stage, the others 0."""
    means = torch.tensor([[0.0, 1.5, 0.0, 2.5, 0.0, 0.0, 3.5, 0.0, 0.0, 4.5]])
    given = make(codec, torch.zeros(1, 1), means, Head(torch.zeros(1, 2), torch.zeros(1)))
    decoded = stages_of(round_trip(codec, given, None), STAGES)
    rounded = [[round(value, 5) for value in mean[0].tolist()] for mean in decoded]
    assert rounded == [[0.0, 1.5, 0.0], [2.5], [0.0, 0.0, 3.5, 0.0], [0.0, 4.5]]


@every_codec
def test_encoding_does_not_change_the_targets(codec: str) -> None:
    (given, _), (same, _) = random_case(codec, 3, 7, 10.0), random_case(codec, 3, 7, 10.0)
    encoded(codec, given)
    assert given.keys() == same.keys() == {"logits", "channels"}
    for name, values in given.items():
        assert torch.equal(values, same[name])


# ---- the bounds mean something


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
    bound = stages_of(encoding_of(codec, 1).bound(given, head), STAGES)
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
    """Negative control: the round trips above could fail."""
    for seed in range(8):
        given, head = random_case(codec, 4, 9, 3.0, seed)
        # No zero means: times anything they would stay what they were.
        given = make(codec, given["logits"], given["channels"] + 0.5, head)
        decoded = round_trip(codec, given, head)
        assert violations(codec, given, decoded, head) == 0
        assert violations(codec, given, CORRUPTIONS[corruption](decoded), head) > 0


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
    bound = alone.bound({"logits": logits}, None)["logits"][0].tolist()
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


@every_codec
def test_decoding_on_a_gpu_does_not_wait_for_it(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes no tensor from numbers of the host, for whose copy the host would wait until all is
    done that the GPU was asked for before. The meta device stands in for one."""
    stages, classes = (4, 3, 5), 7
    with torch.device("meta"):
        head = Head(torch.zeros(classes, stages[-1]), torch.zeros(classes))
        fields = {
            name: torch.zeros(6, *shape, dtype=getattr(torch, dtype))
            for name, (dtype, shape) in encoding_of(codec, classes, stages).fields().items()
        }
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.delattr(torch, name)
    targets = decoded_of(codec, fields, head, classes, stages)
    assert [means.shape for means in stages_of(targets, stages)] == [(6, w) for w in stages]
    assert targets["logits"].shape == (6, classes) and targets["logits"].device.type == "meta"
