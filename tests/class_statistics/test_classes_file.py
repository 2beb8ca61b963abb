"""classes.safetensors: what is written is read back, and nothing else is read."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from precompute.class_statistics import measure_classes
from shared.records.identity import cache_id
from shared.store.classes_file import CLASSES, encode, read_classes, require_classes
from shared.store.opening import Cache
from shared.targets.classes import ClassStatistics
from tests.class_statistics.caches import make_cache_of, make_targets
from tests.forging import DEEP, RAW
from tests.stores import refused

LABELS = [0, 1, 2, 1, 0] * 2


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache_of(tmp_path_factory.mktemp("cache"), make_targets(10), LABELS)


@pytest.fixture(scope="module")
def found(cache: Cache) -> ClassStatistics:
    return measure_classes(cache, 0, 732)


def require_equal(mine: ClassStatistics | None, theirs: ClassStatistics) -> None:
    assert mine is not None and mine.digest == theirs.digest
    assert (mine.view, mine.samples_per_class, mine.compared) == (0, 732, 4)
    assert mine.tensors().keys() == theirs.tensors().keys()
    for name, values in mine.tensors().items():
        assert torch.equal(values, theirs.tensors()[name]) and values.dtype == (
            torch.int64 if name == "counts" else torch.float32
        )


def test_what_is_written_is_read_back(cache: Cache, found: ClassStatistics) -> None:
    cache.files.write(CLASSES, encode(cache, found))
    for read in (read_classes(cache), require_classes(cache, "this test", ["prior", "centres"])):
        require_equal(read, found)


def test_a_distance_may_be_left_out(cache: Cache, found: ClassStatistics) -> None:
    less = replace(found, distance=None, compared=0)
    cache.files.write(CLASSES, encode(cache, less))
    assert require_classes(cache, "ikl", ["prior"]).digest == less.digest != found.digest
    text = refused(lambda: require_classes(cache, "wkd_l", ["distance"]))
    assert "wkd_l needs the distance of every class" in text


def test_it_is_plain_safetensors(cache: Cache, found: ClassStatistics) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    loaded = safetensors.load(encode(cache, found))
    assert loaded.keys() == found.tensors().keys()
    assert all(torch.equal(loaded[name], values) for name, values in found.tensors().items())


def test_without_a_file_the_command_to_type_is_told(tmp_path: Path) -> None:
    cache = make_cache_of(tmp_path / "a cache", make_targets(10), LABELS)
    assert read_classes(cache) is None
    text = refused(lambda: require_classes(cache, "kd++"))
    assert (
        "kd++ needs" in text
        and f"is missing: run python precompute/classes.py --cache {tmp_path}/a cache," in text
    )


def header_changed(data: bytes, **metadata: Any) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"].update(metadata)
    return with_header(json.dumps(header, separators=(",", ":")).encode(), data[8 + length :])


def with_header(text: bytes, numbers: bytes) -> bytes:
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text + numbers


def forged(cache: Cache, found: ClassStatistics) -> dict[str, bytes]:
    """Reason -> files; most of them have a right digest."""
    good = encode(cache, found)
    assert header_changed(good) == good
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    numbers = good[8 + length :]
    assert found.centres is not None and found.prior is not None and found.distance is not None
    longer = {**header, "counts": {**header["counts"], "shape": [10**6]}}
    moved = {**header, "prior": {**header["prior"], "data_offsets": [0, 36]}}
    extra = {**header, "more": header["prior"]}

    def of(facts: dict[str, Any]) -> bytes:
        return with_header(json.dumps(facts, separators=(",", ":")).encode(), numbers)

    return {
        "it is of the cache 000000000000": header_changed(good, cache="0" * 12),
        "version must be 1": header_changed(good, version="2"),
        "does not match the rest": header_changed(good, view="1"),
        "digest must be 64": header_changed(good, digest="x"),
        "whole number in digits": header_changed(good, compared="-1"),
        "no header": good[:100],
        "nested too deeply": with_header(b'{"a":' + DEEP.encode()[:60000] + b"}", b""),
        "'more' is not a field": of(extra),
        "not a file of these tensors alone": of(moved),
        "whole number, 1 to": of({**header, "counts": {**header["counts"], "shape": [10**9]}}),
        "not a file of these": of(longer),
        "and distance ends at": good[:-1],
        "of these tensors alone": good + b"\0",
        "it lacks prior": encode(cache, replace(found, prior=None)),
        "add up to 99": encode(cache, replace(found, counts=torch.tensor([97, 1, 1]))),
        "length 1": encode(cache, replace(found, centres=found.centres * 2)),
        "not a distribution": encode(cache, replace(found, prior=found.prior * 2)),
        "not finite": encode(cache, replace(found, prior=found.prior * torch.nan)),
        "not symmetric": encode(cache, replace(found, distance=found.distance.triu())),
        "more than the limit": good + bytes(1 << 20),
    }


def test_forged_files_are_refused_in_one_line(cache: Cache, found: ClassStatistics) -> None:
    for reason, data in forged(cache, found).items():
        cache.files.write(CLASSES, data)
        text = refused(lambda: read_classes(cache))
        assert reason in text.replace(f"{1 << 20:,}", ""), (reason, text)
        assert "cannot be used (" in text and "run python precompute/classes.py --cache" in text
        assert refused(lambda: require_classes(cache, "x")) == text


def test_any_other_bytes_are_refused(cache: Cache, found: ClassStatistics) -> None:
    good = encode(cache, found)
    rng = random.Random(0)
    bits = rng.sample(range(8 * len(good)), 300)
    flipped = [
        good[: b // 8] + bytes([good[b // 8] ^ 1 << b % 8]) + good[b // 8 + 1 :] for b in bits
    ]
    cut = [good[: rng.randrange(len(good))] for _ in range(40)]
    raw = [*RAW, *(len(text).to_bytes(8, "little") + text for text in RAW)]
    for data in (*flipped, *cut, *raw):
        (Path(cache.where) / CLASSES).write_bytes(data)
        refused(lambda: read_classes(cache))
    (Path(cache.where) / CLASSES).write_bytes(good)
    require_equal(read_classes(cache), found)


def test_targets_added_since_make_it_stale(tmp_path: Path) -> None:
    """The cache keeps its name when a kind is added; the file then lacks the centres."""
    targets = make_targets(10)
    targets["embedding"] = torch.rand(10, 5, generator=torch.Generator().manual_seed(0))
    before = make_cache_of(tmp_path / "a", targets, LABELS, targets=("logits",))
    after = make_cache_of(
        tmp_path / "b", targets, LABELS, targets=("logits",), added={"embedding": (5,)}
    )
    assert cache_id(before.manifest) == cache_id(after.manifest)
    after.files.write(CLASSES, encode(before, measure_classes(before, 0, 732)))
    assert "it lacks centres, which this cache allows" in refused(lambda: read_classes(after))
