"""Codecs of the kinds that are added to a cache: maps, attention, grids and embeddings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.targets.bounds import error_bound
from shared.targets.codecs import Kept, num_bytes
from shared.targets.encoding import Encoding
from shared.targets.kinds import kind_of
from shared.targets.targets import rows_of
from tests.coded_kinds import (
    SHAPES,
    STAGES,
    alone,
    beyond,
    cases,
    encoded,
    every_codec,
    every_kind,
    quick,
    random_case,
    round_trip,
)

# ---- every kind in every codec


@every_codec
@every_kind
@quick
@given(data=st.data())
def test_round_trip_is_within_the_bound(codec: str, kind: str, data: st.DataObject) -> None:
    encoding, targets = alone(codec, kind), data.draw(cases(kind))
    decoded = round_trip(encoding, targets)
    assert decoded.keys() == {kind}
    assert beyond(decoded[kind], targets[kind], error_bound(encoding, targets, None)[kind]) == 0


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
    assert beyond(decoded, targets[kind], error_bound(encoding, targets, None)[kind]) == 0


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
