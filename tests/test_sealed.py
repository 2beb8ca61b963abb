"""Sealed JSON: facts come back, and every edit of them is found."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.files.sealed import seal, unseal

finite = st.floats(allow_nan=False, allow_infinity=False)
leaf = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=5)
inner = leaf | st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=5), leaf, max_size=3)
plain_json = inner | st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=5), plain_json, max_size=4))
def test_sealed_facts_come_back(facts: dict[str, Any]) -> None:
    assert unseal(seal(facts)) == facts


def test_seal_takes_tuples_and_numbers_as_keys() -> None:
    """Whose order as numbers and as text differ."""
    assert unseal(seal({"a": {9: (1, 2), 10: ()}})) == {"a": {"9": [1, 2], "10": []}}


def test_any_flipped_bit_is_found() -> None:
    facts = {"b": [1, 2.5], "a": {"x": "text", "y": None, "z": True}}
    data = seal(facts)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            unseal(bytes(damaged))
    for stop in range(len(data) - 2):  # what ends it is a brace and a newline
        with pytest.raises(ValueError):
            unseal(data[:stop])


@pytest.mark.parametrize("data", [b"[]", b"3", b'"text"', b"null", b"{}", b'{"a": 1}'])
def test_json_without_a_seal_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unseal(data)
