"""Receipts, and any file of a cache, with other contents: one line, or what is read is right."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.files.sealed import seal, unseal
from shared.records.manifest_json import manifest_json
from shared.records.receipt import Receipt, receipt_path
from shared.store.opening import FORMATS, open_cache
from tests.forging import (
    VALUES,
    changed,
    everything,
    fields,
    make_small,
    problem,
    random_forgery,
    refusal,
    written,
)
from tests.small_cache import make_manifest


@pytest.fixture(scope="module", params=[*FORMATS, *(f"{name}, layers" for name in FORMATS)])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    store, _, layers = request.param.partition(", ")
    make_small(folder, store, with_layers=bool(layers))
    return folder


def test_what_is_not_forged_is_read(made: Path) -> None:
    """Or the tests below would hold for a reader that refuses everything."""
    expected = everything(made)
    assert problem(made, expected) is None
    # Negative control: numbers that read as others are noticed.
    text = problem(made, {**expected, "labels": expected["labels"] + 1})
    assert text == "labels reads as something else, and nothing says so"


def test_every_field_of_a_receipt_with_every_value(made: Path) -> None:
    cache = open_cache(made, "train")
    data = cache.files.read(receipt_path(1, 1))
    facts = unseal(data)
    path = made / "train" / receipt_path(1, 1)
    try:
        for at in fields(facts):
            for how, values in (("set", VALUES), ("remove", VALUES[:1]), ("add", VALUES[:2])):
                for value in values:
                    forged = changed(facts, at, value, how)
                    path.write_bytes(written(forged, sealed=True))
                    if refusal(lambda: cache.receipt(1, 1)) is None:
                        receipt = cache.receipt(1, 1)
                        assert Receipt.from_json(receipt.to_json()) == receipt
                        assert set(receipt.files) == set(Receipt.from_json(data).files)
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize(
    "other", ["../../outside", "/etc/passwd", "manifest.json", "receipts/v0000-b000000.json"]
)
def test_a_receipt_names_files_of_its_own_block_alone(made: Path, other: str) -> None:
    """Another path would be read, and with it whatever lies there."""
    cache = open_cache(made, "train")
    path = made / "train" / receipt_path(1, 1)
    data = path.read_bytes()
    facts = unseal(data)
    first = next(iter(facts["files"]))
    try:
        for files in (
            {**facts["files"], other: [0, "0" * 64]},
            {other if name == first else name: entry for name, entry in facts["files"].items()},
            {name: entry for name, entry in facts["files"].items() if name != first},
        ):
            path.write_bytes(seal({**facts, "files": files}))
            text = refusal(lambda: cache.check_block(1, 1))
            assert text is not None and "its files are not those of its block" in text
    finally:
        path.write_bytes(data)


def test_samples_of_a_receipt_lie_in_its_block(made: Path) -> None:
    cache = open_cache(made, "train")
    path = made / "train" / receipt_path(1, 1)
    data = path.read_bytes()
    facts = unseal(data)
    (inside,) = facts["pixels"]
    outside = str(int(cache.manifest.samples_of(0)[0]))
    try:
        for change, part in (
            ({"pixels": {outside: "f" * 64}, "targets": {outside: "f" * 64}}, "not in its block"),
            ({"pixels": {"5": "f" * 64}, "targets": {"5": "f" * 64}}, "sample 5 is not one of 5"),
            ({"pixels": {}}, "of different samples"),
            ({"skipped": [[int(outside), "a", "b"]]}, "not in its block"),
            ({"skipped": [[int(inside), "a", "b"]]}, "in it twice"),
            ({"view": 0}, "is the receipt of another block, 1 of view 0"),
            ({"stop": 4}, "is the receipt of another block, 1 of view 1"),
        ):
            path.write_bytes(seal({**facts, **change}))
            text = refusal(lambda: cache.receipt(1, 1))
            assert text is not None and part in text
    finally:
        path.write_bytes(data)


_expected: dict[Path, Any] = {}  # what is read of each cache as it was made


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_a_file_holds(made: Path, seed: int) -> None:
    """JSON with a right seal or without one, arrays' metadata, keys and head."""
    rng = random.Random(seed)
    root = made / "train"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = rng.choice([path for path in files if path.suffix in (".json", ".npy", ".txt")])
    whole = path.read_bytes()
    expected = _expected.setdefault(made, None) or everything(made)
    _expected[made] = expected
    what, data = random_forgery(whole, str(path.relative_to(root)), rng)
    try:
        path.write_bytes(data)
        assert problem(made, expected) is None, (path.name, what)
    finally:
        path.write_bytes(whole)


def test_a_manifest_of_another_split_is_refused(made: Path) -> None:
    path = made / "train/manifest.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(manifest_json(make_manifest(split="val")))
        text = refusal(lambda: open_cache(made, "train"))
        assert text is not None and "is of the split 'val'" in text
    finally:
        path.write_bytes(whole)
