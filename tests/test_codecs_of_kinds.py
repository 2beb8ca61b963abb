"""Codecs of the kinds that are added to a cache: maps, attention, grids and embeddings."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.nn.functional import linear, normalize

from shared.errors import InputError
from shared.models.staged import Outputs
from shared.targets.arrays import relative_to_maximum
from shared.targets.codecs import CODECS, Kept, num_bytes, require_derivable
from shared.targets.encoding import Encoding
from shared.targets.kinds import kind_of
from shared.targets.targets import Head, Targets, rows_of

STAGES = (3, 1, 4, 2)
HALF_MAX = 65504.0
SHAPES = {
    "attention3": (16,),
    "map4": (2, 3, 2),
    "grid4": (2, 2, 4, 4),
    "embedding": (5,),
}
quick = settings(max_examples=30, deadline=None)
every_codec = pytest.mark.parametrize("codec", CODECS)
every_kind = pytest.mark.parametrize("kind", SHAPES)


def alone(codec: str, kind: str) -> Encoding:
    return Encoding(codec, (Kept(kind, SHAPES[kind], STAGES),))


def like(kind: str, values: Tensor) -> Tensor:
    """Attention has the length 1, or is 0 where all of a map is."""
    return normalize(values, dim=1) if kind.startswith("attention") else values


@st.composite
def cases(draw: st.DrawFn, kind: str) -> Targets:
    rows = draw(st.integers(1, 4))
    number = st.one_of(
        st.floats(0, 4, width=32),
        st.floats(0, HALF_MAX, width=32),
        st.floats(0, 2.0**-14, width=32),
        st.sampled_from([0.0, HALF_MAX, 2.0**-24, 2.0**-25, 2.0**-14]),
    )
    values = draw(npst.arrays(np.float32, (rows, *SHAPES[kind]), elements=number))
    return {kind: like(kind, torch.from_numpy(values))}


def random_case(kind: str, rows: int, seed: int = 0) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    return {kind: like(kind, torch.rand(rows, *SHAPES[kind], generator=generator) * 3)}


def encoded(encoding: Encoding, targets: Targets) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in encoding.encode(targets).items()}


def round_trip(encoding: Encoding, targets: Targets, head: Head | None = None) -> Targets:
    return encoding.decode(encoded(encoding, targets), head)


def beyond(decoded: Tensor, true: Tensor, bound: Tensor) -> int:
    """How many numbers are further off than the bound. A NaN is."""
    assert decoded.shape == true.shape == bound.shape and decoded.dtype == torch.float32
    return int((~((decoded.double() - true.double()).abs() <= bound.double())).sum())


# ---- every kind in every codec


@every_codec
@every_kind
@quick
@given(data=st.data())
def test_round_trip_is_within_the_bound(codec: str, kind: str, data: st.DataObject) -> None:
    encoding, targets = alone(codec, kind), data.draw(cases(kind))
    decoded = round_trip(encoding, targets)
    assert decoded.keys() == {kind}
    assert beyond(decoded[kind], targets[kind], encoding.bound(targets, None)[kind]) == 0


@every_codec
@every_kind
@quick
@given(data=st.data())
def test_any_rows_decode_alone(codec: str, kind: str, data: st.DataObject) -> None:
    encoding, targets = alone(codec, kind), data.draw(cases(kind))
    last = len(targets[kind]) - 1
    rows = torch.tensor(data.draw(st.lists(st.integers(0, last), min_size=1, max_size=6)))
    fields = encoded(encoding, targets)
    whole = encoding.decode(fields, None)[kind]
    assert torch.equal(encoding.decode(rows_of(fields, rows), None)[kind], whole[rows])
    # Encoding rows alone, too, gives the same bytes.
    for name, values in encoding.encode(rows_of(targets, rows)).items():
        assert values.tobytes() == fields[name][rows].numpy().tobytes()


@every_kind
@quick
@given(data=st.data())
def test_exact_is_bit_equal(kind: str, data: st.DataObject) -> None:
    """Of negative numbers, too: teachers other than ReLU networks have them."""
    targets = data.draw(cases(kind))
    for values in (targets[kind], -targets[kind]):
        decoded = round_trip(alone("exact", kind), {kind: values})[kind]
        assert decoded.numpy().tobytes() == values.numpy().tobytes()


@pytest.mark.parametrize("codec", ["half", "compact"])
@every_kind
def test_negative_numbers_in_half(codec: str, kind: str) -> None:
    encoding, targets = alone(codec, kind), {kind: -random_case(kind, 5)[kind]}
    decoded = round_trip(encoding, targets)[kind]
    assert (decoded < 0).any()
    assert beyond(decoded, targets[kind], encoding.bound(targets, None)[kind]) == 0


@every_kind
def test_tiny_refuses_negative_numbers_in_one_line(kind: str) -> None:
    targets = random_case(kind, 3)
    targets[kind].view(3, -1)[1, 2] = -0.25
    with pytest.raises(InputError) as caught:
        alone("tiny", kind).encode(targets)
    assert str(caught.value) == (
        f"the teacher's {kind} reach -0.25, and codec tiny holds numbers of 0 or more, as they "
        f"are after ReLU: use --codec compact"
    )


@pytest.mark.parametrize("codec", ["half", "compact"])
@every_kind
@pytest.mark.parametrize("largest", [65504.25, 1e30, float("inf")])
def test_half_refuses_what_does_not_fit(codec: str, kind: str, largest: float) -> None:
    targets = random_case(kind, 3)
    targets[kind].view(3, -1)[1, 2] = largest
    with pytest.raises(InputError) as caught:
        alone(codec, kind).encode(targets)
    assert str(caught.value) == (
        f"the teacher's {kind} reach {largest:g}, and this codec holds numbers up to 65504 "
        f"(fp16): use --codec exact, or check the teacher's weights"
    )


@every_codec
@every_kind
def test_fields_are_those_that_are_announced(codec: str, kind: str) -> None:
    encoding = alone(codec, kind)
    found = {name: (str(v.dtype), v.shape[1:]) for name, v in encoded_arrays(encoding, kind)}
    assert list(found.items()) == list(encoding.fields().items())
    dtype = {"exact": "float32", "tiny": "uint8"}.get(codec, "float16")
    scale = {f"{kind}_scale": ("float32", (1,))} if codec == "tiny" else {}
    assert found == {kind: (dtype, SHAPES[kind]), **scale}
    size = math.prod(SHAPES[kind]) * np.dtype(dtype).itemsize + 4 * len(scale)
    assert num_bytes(encoding.fields()) == size


def encoded_arrays(encoding: Encoding, kind: str) -> list[tuple[str, np.ndarray]]:  # type: ignore[type-arg]
    return list(encoding.encode(random_case(kind, 3)).items())


@every_codec
@every_kind
def test_words_say_how_to_decode(codec: str, kind: str) -> None:
    """As somebody would who has no more than them."""
    encoding, targets = alone(codec, kind), random_case(kind, 4)
    words = {name: encoding.meaning(name) for name in encoding.fields()}
    assert kind_of(kind).meaning in words[kind] and "{" not in "".join(words.values())
    arrays = encoding.encode(targets)
    expected = encoding.decode(encoded(encoding, targets), None)[kind].numpy()
    read = arrays[kind].astype(np.float32)
    if codec == "tiny":
        assert f"To decode: c = ({kind} / 255)**2 * s" in words[kind]
        assert "scale of the row" in words[kind] and "of the row" in words[f"{kind}_scale"]
        read = (read / 255) ** 2 * arrays[f"{kind}_scale"].reshape(-1, *[1] * len(SHAPES[kind]))
    np.testing.assert_allclose(read, expected, rtol=1e-5)


@every_codec
@every_kind
def test_encoding_does_not_change_the_targets(codec: str, kind: str) -> None:
    targets = random_case(kind, 3)
    alone(codec, kind).encode(targets)
    assert torch.equal(targets[kind], random_case(kind, 3)[kind])


# ---- the bounds mean something

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
    """Negative control: the round trips above could fail."""
    for seed in range(4):
        # No zeros: times anything they would stay what they were.
        targets = {kind: random_case(kind, 4, seed)[kind] + 0.5}
        encoding = alone(codec, kind)
        decoded, bound = round_trip(encoding, targets)[kind], encoding.bound(targets, None)[kind]
        assert beyond(decoded, targets[kind], bound) == 0
        assert beyond(CORRUPTIONS[corruption](decoded), targets[kind], bound) > 0


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "exact"])
@every_kind
def test_bounds_are_no_larger_than_needed(codec: str, kind: str) -> None:
    """Some number comes near its bound, so that a bound twice as small would be broken."""
    encoding, targets = alone(codec, kind), random_case(kind, 400)
    error = (round_trip(encoding, targets)[kind].double() - targets[kind].double()).abs()
    assert 0.8 < (error / encoding.bound(targets, None)[kind]).max().item() <= 1


@every_kind
@quick
@given(data=st.data())
def test_tiny_of_half_is_within_the_bound_of_converted(kind: str, data: st.DataObject) -> None:
    """And somewhere not in that of tiny alone: see below."""
    targets = data.draw(cases(kind))
    tiny = alone("tiny", kind)
    decoded = round_trip(tiny, round_trip(alone("half", kind), targets))[kind]
    assert beyond(decoded, targets[kind], tiny.bound_of_converted(targets, None)[kind]) == 0


def test_tiny_of_half_is_off_by_more_than_tiny() -> None:
    """Numbers near the largest, where tiny's own error may be small."""
    targets = random_case("embedding", 4000)
    tiny = alone("tiny", "embedding")
    decoded = round_trip(tiny, round_trip(alone("half", "embedding"), targets))["embedding"]
    own, wide = (f(targets, None)["embedding"] for f in (tiny.bound, tiny.bound_of_converted))
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
    bound = encoding.bound(targets, None)["attention3"].double().norm(dim=1)
    assert (decoded >= 0).all()
    assert ((decoded.double().norm(dim=1) - length).abs() <= bound + 1e-12).all()


# ---- the embedding, and logits derived from it


def with_logits(codec: str, *others: str) -> tuple[Encoding, Targets, Head]:
    """Logits of 7 classes that are head(embedding), and some of channels and embedding."""
    generator = torch.Generator().manual_seed(0)
    channels = torch.rand(6, sum(STAGES), generator=generator) * 3
    embedding = channels[:, -STAGES[-1] :]
    head = Head(
        torch.randn(7, STAGES[-1], generator=generator), torch.randn(7, generator=generator)
    )
    logits = linear(embedding, head.weight, head.bias)
    targets = {"logits": logits, "channels": channels, "embedding": embedding}
    shapes = {name: values.shape[1:] for name, values in targets.items()}
    kept = tuple(Kept(name, shapes[name], STAGES) for name in ("logits", *others))
    return Encoding(codec, kept), targets, head


@every_codec
def test_the_embedding_of_channels_takes_no_bytes(codec: str) -> None:
    encoding, targets, head = with_logits(codec, "channels")
    assert encoding.offers("embedding") and not any("embedding" in n for n in encoding.fields())
    decoded = round_trip(encoding, targets, head)
    assert torch.equal(decoded["embedding"], decoded["channels"][:, -STAGES[-1] :])
    names = encoding.needed({"embedding"})
    assert names == (["channels", "scale"] if codec == "tiny" else ["channels"])
    some = {name: values for name, values in encoded(encoding, targets).items() if name in names}
    assert torch.equal(encoding.decode(some, None)["embedding"], decoded["embedding"])


@every_codec
def test_an_embedding_is_stored_where_there_are_no_channels(codec: str) -> None:
    encoding, targets, head = with_logits(codec, "embedding")
    assert encoding.offers("embedding") and not encoding.offers("channels")
    scale = ["embedding_scale"] if codec == "tiny" else []
    assert encoding.needed({"embedding"}) == ["embedding", *scale]
    decoded, bound = round_trip(encoding, targets, head), encoding.bound(targets, head)
    assert decoded.keys() == bound.keys() == {"logits", "embedding"}
    assert beyond(decoded["embedding"], targets["embedding"], bound["embedding"]) == 0
    sides = (relative_to_maximum(side["logits"]) for side in (decoded, targets))
    assert beyond(*sides, bound["logits"]) == 0
    if CODECS[codec].derives_logits:
        assert encoding.needed({"logits"}) == ["embedding", *scale]
        logits = linear(decoded["embedding"], head.weight, head.bias)
        assert torch.equal(decoded["logits"], logits)
        assert "logits" not in round_trip(encoding, targets)  # without the head
    else:
        assert encoding.needed({"logits"}) == ["logits"]


def test_the_bound_of_derived_logits_finds_another_head() -> None:
    """Negative control."""
    encoding, targets, head = with_logits("tiny", "embedding")
    other = Head(head.weight * 1.2, head.bias)
    sides = (
        relative_to_maximum(side["logits"])
        for side in (round_trip(encoding, targets, other), targets)
    )
    assert beyond(*sides, encoding.bound(targets, head)["logits"]) > 0


@every_codec
def test_logits_alone(codec: str) -> None:
    """Stored, or refused where the codec would have nothing to derive them from."""
    if CODECS[codec].derives_logits:
        with pytest.raises(InputError) as caught:
            require_derivable(codec, ("logits",))
        assert str(caught.value) == (
            f"--codec {codec} derives the logits from the channel means or the embedding: "
            f"--targets logits keeps neither; add channels, or use --codec half"
        )
        require_derivable(codec, ("logits", "embedding"))
        require_derivable(codec, ("channels",))
        return
    require_derivable(codec, ("logits",))
    encoding, targets, _ = with_logits(codec)
    assert not encoding.offers("embedding") and encoding.needed({"embedding", "guided"}) == []
    decoded = round_trip(encoding, targets)
    assert decoded.keys() == {"logits"}
    sides = (relative_to_maximum(side["logits"]) for side in (decoded, targets))
    assert beyond(*sides, encoding.bound(targets, None)["logits"]) == 0


# ---- several kinds together


@every_codec
def test_a_kind_is_the_same_bytes_alone_and_among_others(codec: str) -> None:
    targets = {kind: random_case(kind, 5)[kind] for kind in SHAPES}
    together = Encoding(codec, tuple(Kept(kind, shape, STAGES) for kind, shape in SHAPES.items()))
    fields = together.encode(targets)
    assert list(fields) == list(together.fields())
    for kind in SHAPES:
        some = alone(codec, kind).encode(targets)
        assert list(some) == together.needed({kind}) == list(together.fields([kind]))
        for name, values in some.items():
            assert values.tobytes() == fields[name].tobytes()
            assert together.encode(targets, [kind])[name].tobytes() == values.tobytes()
        tensors = {name: torch.from_numpy(values) for name, values in some.items()}
        assert together.decode(tensors, None).keys() == {kind}


@every_codec
def test_decoding_on_a_gpu_does_not_wait_for_it(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes no tensor from numbers of the host. The meta device stands in for a GPU."""
    encoding = Encoding(codec, tuple(Kept(kind, shape, STAGES) for kind, shape in SHAPES.items()))
    with torch.device("meta"):
        fields = {
            name: torch.zeros(6, *shape, dtype=getattr(torch, dtype))
            for name, (dtype, shape) in encoding.fields().items()
        }
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.delattr(torch, name)
    targets = encoding.decode(fields, None)
    assert {name: values.shape for name, values in targets.items()} == {
        kind: (6, *shape) for kind, shape in SHAPES.items()
    }
    assert {values.device.type for values in targets.values()} == {"meta"}
