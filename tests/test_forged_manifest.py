"""Every field of a manifest with other values: one line that names it, or right types."""

from typing import Any

import pytest

from shared.errors import InputError
from shared.files.sealed import MOST_BYTES, seal, unseal
from shared.records.manifest import Manifest
from shared.records.manifest_json import manifest_json, parse_manifest
from shared.records.receipt import Receipt
from tests.forging import RAW, VALUES, changed, fields, refusal, written
from tests.small_cache import batch_manifest, make_manifest, version_1

VERSIONS = [
    make_manifest(),
    version_1(make_manifest()),
    make_manifest(store="webdataset"),
    batch_manifest(),
    make_manifest(targets=("channels",), added={"attention1": (4,), "embedding": (5,)}),
    make_manifest(store="webdataset", augment="mixup=0.2,cutmix=1"),
]


NAMES = ["zarr", "version 1", "webdataset", "batch", "layers", "mixed"]
FAST = {"layers", "batch"}  # the others take as long and have few fields that these have not


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(manifest, id=name, marks=() if name in FAST else pytest.mark.slow)
        for manifest, name in zip(VERSIONS, NAMES, strict=True)
    ],
)
def test_every_field_of_a_manifest_with_every_value(manifest: Manifest) -> None:
    """With a right seal: what is read is a manifest of right types, and can be written again."""
    facts = unseal(manifest_json(manifest))
    refused = 0
    for at in fields(facts):
        for how, values in (("set", VALUES), ("remove", VALUES[:1]), ("add", VALUES[:2])):
            for value in values:
                data = written(changed(facts, at, value, how), sealed=True)
                if refusal(lambda data=data: parse_manifest(data, "here")) is None:
                    again = parse_manifest(data, "here")
                    assert parse_manifest(manifest_json(again), "here") == again
                    assert again.views >= 1 and again.samples >= 1 and again.block >= 1
                else:
                    refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("at", "value", "part"),
    [
        (("views",), 0, "views must be a whole number, 1 to 10,000: got 0"),
        (("views",), True, "views must be a whole number, 1 to 10,000: got True"),
        (("block",), 0, "block must be a whole number, 1 to 2,147,483,647: got 0"),
        (("source", "samples"), 0, "source.samples must be a whole number"),
        (("codec",), "octal", "codec must be exact or half or compact or tiny: got 'octal'"),
        (("codec_version",), 2, "codec_version of half must be 1: got 2"),
        (("format",), "tape", "format must be zarr or webdataset: got 'tape'"),
        (("order",), "permuted", "order must be source in the format zarr: got permuted"),
        (("order",), "random", "order must be source or permuted: got 'random'"),
        (
            ("policy",),
            "crop",
            "policy must be random-resized-crop or pad-crop or resize-center or center: got",
        ),
        (("precision",), "fp8", "precision must be fp32 or bf16: got 'fp8'"),
        (("source", "digest"), "D1" * 32, "source.digest must be 64 hexadecimal digits: got"),
        (("teacher", "channels"), [], "teacher.channels must be a list of 1 to 64: got a list"),
        (("std",), [1, 1, 0], "std[2] must be a number above 0, at most 1000: got 0"),
        (("mean",), [0.5, 0.5], "mean must be a list of 3: got a list of 2"),
        (("converted_from",), "half", "converted_from must be empty for codec half: got half"),
        (("statistics",), "batch", "teacher_batch must be given with the statistics batch, and"),
        (("statistics",), "eval", "statistics must be batch: got 'eval'"),
        (("teacher_batch",), 4, "only then: got 4 with eval"),
        (("cache_id",), "0" * 12, "cache_id must be "),
        (("versions",), {"python": 3}, "versions['python'] must be a text"),
    ],
)
def test_the_line_names_field_rule_and_value(at: Any, value: Any, part: str) -> None:
    data = seal(changed(unseal(manifest_json(make_manifest())), at, value, "set"))
    text = refusal(lambda: parse_manifest(data, "/some/manifest.json"))
    assert (
        text is not None
        and "manifest /some/manifest.json holds facts that this code cannot use (" in text
        and part in text
    )


@pytest.mark.parametrize(
    ("at", "value", "part"),
    [
        (("teacher_batch",), 1, "teacher_batch must be a whole number, 2 to 1,000,000: got 1"),
        (("teacher_batch",), 3, "blocks of 8 samples do not hold whole batches of 3"),
        (("block",), 6, "blocks of 6 samples do not hold whole batches of 4"),
        (
            ("source", "samples"),
            17,
            "the last block of 17 samples in blocks of 8 would hold 1, and a batch must hold 2 or "
            "more",
        ),
        (("source", "samples"), 1, "would hold 1"),
        (("format_version",), 1, "is not a field of this version"),
    ],
)
def test_batches_must_fit_the_blocks(at: Any, value: Any, part: str) -> None:
    data = seal(changed(unseal(manifest_json(batch_manifest())), at, value, "set"))
    text = refusal(lambda: parse_manifest(data, "/some/manifest.json"))
    assert text is not None and part in text


@pytest.mark.parametrize(
    ("at", "value", "part"),
    [
        (("targets",), ["channels", "logits"], "targets must be among logits, channels, in "),
        (("targets",), ["logits", "logits"], "targets must be among logits, channels, in "),
        (("targets",), ["embedding"], "targets must be among logits, channels, in "),
        (("targets",), ["logits"] * 3, "targets must be a list of 0 to 2: got a list of 3"),
        (("added", "mood"), [4], "there is no kind of targets called 'mood'"),
        (("added", "attention0"), [4], "there is no kind of targets called 'attention0'"),
        (("added", "channels"), [14], "channels is both in targets and in added"),
        (("added", "map1"), [0], "added['map1'][0] must be a whole number, 1 to 10,000,000: got 0"),
        (("added", "map1"), [], "added['map1'] must be a list of 1 to 4: got a list of 0"),
        (("added", "map1"), [10**4] * 3, "added.map1 must have at most 10,000,000 numbers"),
        (("format_version",), 1, "is not a field of this version"),
    ],
)
def test_kinds_must_be_known_and_each_in_one_place(at: Any, value: Any, part: str) -> None:
    manifest = make_manifest(targets=("channels",), added={"attention1": (4,)})
    assert refusal(lambda: parse_manifest(manifest_json(manifest), "here")) is None
    data = seal(changed(unseal(manifest_json(manifest)), at, value, "set"))
    text = refusal(lambda: parse_manifest(data, "/some/manifest.json"))
    assert text is not None and part in text


def test_batches_in_the_order_of_the_source_are_refused() -> None:
    facts = {**unseal(manifest_json(batch_manifest())), "format": "zarr", "order": "source"}
    text = refusal(lambda: parse_manifest(seal(facts), "here"))
    assert text is not None and "order must be permuted with the statistics batch: got" in text


@pytest.mark.parametrize("data", RAW, ids=lambda data: repr(data[:12]))
def test_json_is_bounded_in_depth_and_numbers(data: bytes) -> None:
    text = refusal(lambda: parse_manifest(data, "here"))
    assert text is not None and "here is not a manifest in JSON (" in text
    with pytest.raises(ValueError) as caught:
        Receipt.from_json(data)
    assert type(caught.value) is not InputError and "\n" not in str(caught.value)


def test_json_is_bounded_in_size() -> None:
    data = b'{"a": "' + b"x" * MOST_BYTES + b'"}'
    with pytest.raises(ValueError, match="bytes, more than 67,108,864"):
        unseal(data)
