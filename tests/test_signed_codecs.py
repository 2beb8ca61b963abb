"""Codecs of a network whose stages or embedding can be negative, and whose embedding is not the
mean of the last stage."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound, error_bound_of_converted
from shared.targets.codecs import CODECS, Form, Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets
from tests.coded_kinds import STAGES, beyond, encoded, every_codec, quick, round_trip

WIDTH, CLASSES = 5, 7
SHAPES = {"logits": (CLASSES,), "channels": (sum(STAGES),), "embedding": (WIDTH,)}
SIGNED = Form(pooled=False, signed=True)
MOST = 65504.0


def encoding_of(codec: str, form: Form = SIGNED) -> Encoding:
    return Encoding(codec, tuple(Kept(name, shape, STAGES) for name, shape in SHAPES.items()), form)


def targets_of(channels: Tensor, embedding: Tensor) -> tuple[Targets, Head]:
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(CLASSES, WIDTH, generator=generator), torch.ones(CLASSES))
    logits = linear(embedding, head.weight, head.bias)
    return {"logits": logits, "channels": channels, "embedding": embedding}, head


def random_case(rows: int, scale: float = 3.0, seed: int = 0) -> tuple[Targets, Head]:
    generator = torch.Generator().manual_seed(seed)
    channels = torch.randn(rows, sum(STAGES), generator=generator) * scale
    return targets_of(channels, torch.randn(rows, WIDTH, generator=generator) * scale)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Targets, Head]:
    number = st.one_of(
        st.floats(-4, 4, width=32),
        st.floats(-MOST, MOST, width=32),
        st.floats(-(2.0**-14), 2.0**-14, width=32),
        st.sampled_from([0.0, -0.0, MOST, -MOST, 2.0**-25, -(2.0**-24), 2.0**-140]),
    )
    rows = draw(st.integers(1, 4))
    found = [
        torch.from_numpy(draw(npst.arrays(np.float32, (rows, *SHAPES[name]), elements=number)))
        for name in ("channels", "embedding")
    ]
    return targets_of(*found)


def beyond_bound(decoded: Targets, true: Targets, bound: Targets) -> dict[str, int]:
    """Kind -> how many numbers are further off than allowed; logits relative to their maximum."""
    sides = [
        {**side, "logits": relative_to_maximum(side["logits"])} for side in (dict(decoded), true)
    ]
    return {name: beyond(sides[0][name], sides[1][name], bound[name]) for name in SHAPES}


NONE = dict.fromkeys(SHAPES, 0)


@every_codec
@quick
@given(data=st.data())
def test_round_trip_is_within_the_bound(codec: str, data: st.DataObject) -> None:
    true, head = data.draw(cases())
    encoding = encoding_of(codec)
    decoded = round_trip(encoding, true, head)
    assert beyond_bound(decoded, true, error_bound(encoding, true, head)) == NONE
    for name in ("channels", "embedding"):  # no number changes its sign
        assert (decoded[name] * true[name] >= 0).all()


@quick
@given(data=st.data())
def test_tiny_of_half_is_within_the_bound_of_converted(data: st.DataObject) -> None:
    true, head = data.draw(cases())
    tiny = encoding_of("tiny")
    decoded = round_trip(tiny, round_trip(encoding_of("half"), true), head)
    assert beyond_bound(decoded, true, error_bound_of_converted(tiny, true, head)) == NONE


def test_the_bound_of_converted_is_one_for_both_signs() -> None:
    true, head = random_case(50)
    other = {name: -values for name, values in true.items()}
    bounds = [error_bound_of_converted(encoding_of("tiny"), side, head) for side in (true, other)]
    for name in ("channels", "embedding"):
        assert torch.equal(*(bound[name] for bound in bounds))


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "exact"])
def test_bounds_are_no_larger_than_needed(codec: str) -> None:
    true, head = random_case(2000)
    encoding = encoding_of(codec)
    decoded, bound = round_trip(encoding, true, head), error_bound(encoding, true, head)
    for name in ("channels", "embedding"):
        share = (decoded[name].double() - true[name].double()).abs() / bound[name].double()
        assert 0.8 < share.max().item() <= 1


@every_codec
@pytest.mark.parametrize("name", ["channels", "embedding"])
def test_the_bound_finds_a_lost_sign(codec: str, name: str) -> None:
    """Negative control."""
    true, head = random_case(4)
    encoding = encoding_of(codec)
    decoded = dict(round_trip(encoding, true, head))
    decoded[name] = decoded[name].abs()
    assert beyond_bound(decoded, true, error_bound(encoding, true, head))[name] > 0


@every_codec
def test_all_zeros_and_both_ends_are_exact(codec: str) -> None:
    channels = torch.zeros(3, sum(STAGES))
    channels[1, 0], channels[2, 0] = -MOST, 2.0
    true, head = targets_of(channels, torch.tensor([[0.0] * WIDTH, [-4.0] * WIDTH, [4.0] * WIDTH]))
    decoded = round_trip(encoding_of(codec), true, head)
    for name in ("channels", "embedding"):
        assert torch.allclose(decoded[name], true[name], rtol=1e-6, atol=0)


def test_tiny_takes_a_byte_a_number_and_says_how_to_read_it() -> None:
    """Decoded by the formula in the stored meaning."""
    encoding = encoding_of("tiny")
    true, _ = random_case(3)
    fields = encoded(encoding, true)
    assert {name: str(values.dtype) for name, values in fields.items()} == {
        "channels": "torch.int8", "scale": "torch.float32",
        "embedding": "torch.int8", "embedding_scale": "torch.float32",
    }  # fmt: skip
    assert fields["channels"].abs().max() == fields["embedding"].abs().max() == 127
    assert "s = numpy.repeat(scale, stages, axis=-1)" in encoding.meaning("channels")
    decoded = round_trip(encoding, true)
    scales = {
        "channels": np.repeat(fields["scale"].numpy(), STAGES, axis=-1),
        "embedding": fields["embedding_scale"].numpy(),
    }
    for name, s in scales.items():
        assert f"r = {name} / 127 and c = r * abs(r) * s" in encoding.meaning(name)
        r = fields[name].numpy() / 127
        np.testing.assert_allclose(r * abs(r) * s, decoded[name].numpy(), rtol=1e-5)


def test_what_is_never_negative_keeps_eight_bits() -> None:
    encoding = Encoding("tiny", (Kept("attention1", (16,), STAGES),), SIGNED)
    assert encoding.fields() == {"attention1": ("uint8", (16,)), "attention1_scale": (
        "float32", (1,))}  # fmt: skip


@pytest.mark.parametrize("codec", [name for name, each in CODECS.items() if each.derives_logits])
def test_logits_that_no_layer_gives_are_stored(codec: str) -> None:
    """As half stores them; they then need no head."""
    true, _ = random_case(20)
    derived = encoding_of(codec)
    assert derived.derives_logits and "logits" not in derived.fields()
    stored = encoding_of(codec, replace(SIGNED, is_linear=False))
    assert not stored.derives_logits and stored.fields()["logits"] == ("float16", (CLASSES,))
    assert stored.needed({"logits"}) == ["logits"]
    decoded = round_trip(stored, true)
    assert beyond_bound(decoded, true, error_bound(stored, true, None)) == NONE
    assert torch.equal(decoded["logits"], round_trip(encoding_of("half"), true)["logits"])


@every_codec
def test_an_embedding_that_is_no_mean_is_not_read_from_the_channels(codec: str) -> None:
    kept = (Kept("channels", SHAPES["channels"], STAGES),)
    assert Encoding(codec, kept).offers("embedding")
    encoding = Encoding(codec, kept, SIGNED)
    assert not encoding.offers("embedding") and encoding.needed({"embedding"}) == []
    true, _ = random_case(3)
    assert "embedding" not in round_trip(encoding, {"channels": true["channels"]})
