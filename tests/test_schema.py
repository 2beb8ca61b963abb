"""Patterns of JSON: what each takes, and the first thing that it does not."""

from typing import Any

import pytest

from train.schema import Optional, Values, count, mismatch, one_of


@pytest.mark.parametrize(
    ("value", "pattern", "problem"),
    [
        (1, float, None),
        (True, float, "a finite number"),
        (True, int, "must be int"),
        (float("inf"), float, "a finite number"),
        (10**400, float, "a finite number"),
        (-1, count, "0, 1, 2, ... below 2^63"),
        (2**63, count, "below 2^63"),
        ("b", one_of("a", "b"), None),
        (["b"], one_of("a", "b"), "one of a, b"),
        ({}, {"a": Optional(int)}, None),
        ({"a": None}, {"a": Optional(int)}, None),
        ({"a": "x"}, {"a": Optional(int)}, "a must be int, it is 'x'"),
        ({}, {"a": int}, "a is missing"),
        ({"a": {"b": [1, None]}}, {"a": {"b": [int]}}, "a.b[1] must be int, it is None"),
        ({"a": 1, "b": "x"}, Values(int), "b must be int, it is 'x'"),
        ({1: 1}, Values(int), "must be an object"),
        ({"a\nb": "x"}, Values(int), "a\\nb must be int, it is 'x'"),
        ([], {"a": int}, "the whole must be an object, it is list"),
    ],
)
def test_what_a_pattern_takes(value: Any, pattern: Any, problem: str | None) -> None:
    found = mismatch(value, pattern)
    assert (found is None) if problem is None else (found is not None and problem in found)
