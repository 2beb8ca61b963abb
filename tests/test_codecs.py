"""Codecs: what comes back is what went in, within the bound that each codec states."""

from itertools import chain, combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import linear

from shared.targets.codecs import CODECS
from shared.targets.targets import Head, rows_of
from tests.coded import (
    STAGES,
    cases,
    decoded_of,
    encoded,
    encoding_of,
    every_codec,
    make,
    quick,
    random_case,
    round_trip,
    violations,
)
from tests.said import stages_of

DERIVED = [name for name, codec in CODECS.items() if codec.derives_logits]
STORED = [name for name in CODECS if name not in DERIVED]


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
