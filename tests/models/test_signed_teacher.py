"""What is stored of real networks that are no ResNets is as near as the codec says."""

from functools import cache

import pytest
import torch

from shared.pixels.normalise import NORMALISATIONS
from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound
from shared.targets.codecs import Kept
from shared.targets.encoding import Encoding
from shared.targets.kinds import kind_of
from shared.targets.teacher import Teacher, form_of
from tests.coded_kinds import beyond, every_codec, round_trip
from tests.models.made import images, made

pytest.importorskip("timm")
KINDS = ("logits", "channels", "embedding", "attention1", "map2", "grid4")


@cache
def teacher_of(name: str) -> Teacher:
    return Teacher(made(name), NORMALISATIONS["imagenet"], "fp32")


@every_codec
@pytest.mark.parametrize(
    "name",
    [
        "timm/test_convnext",
        "timm/test_vit",
        pytest.param("timm/levit_128s", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_a_signed_teacher(name: str, codec: str) -> None:
    teacher = teacher_of(name)
    form, facts = form_of(teacher), teacher.facts(64)
    assert form.signed and form.is_linear == (name != "timm/levit_128s")
    pixels = (images(rows=20) * 64 + 128).clamp(0, 255).to(torch.uint8)
    true = teacher(pixels, KINDS)
    kept = tuple(Kept(kind, kind_of(kind).shape(facts), facts.channels) for kind in KINDS)
    assert {kind.name: kind.shape for kind in kept} == {
        kind: tuple(values.shape[1:]) for kind, values in true.items()
    }
    encoding = Encoding(codec, kept, form)
    decoded = round_trip(encoding, true, teacher.head)
    bound = error_bound(encoding, true, teacher.head)
    for kind in KINDS:
        mine, theirs = decoded[kind], true[kind]
        if kind == "logits":
            mine, theirs = relative_to_maximum(mine), relative_to_maximum(theirs)
        assert beyond(mine, theirs, bound[kind]) == 0, kind
        if codec == "exact":
            assert torch.equal(decoded[kind], true[kind])
    assert (decoded["channels"] < 0).any()
