"""Checks JSON and checkpoints against patterns, which are written as data.

    {"epoch": int, "cache": Optional({"codec": str})}

A dict lists required fields (others are allowed), a list with one pattern matches a list of any
length, `Values(p)` a dict with arbitrary names, `Optional(p)` a field that may be absent or null. A
function is a predicate, whose docstring is used in messages; anything else is a type. A bool does
not count as a number, an integer counts as a float, and a float must be finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Optional:
    pattern: Any


@dataclass(frozen=True)
class Values:
    pattern: Any


def count(value: Any) -> bool:
    """0, 1, 2, ... below 2^63"""
    return type(value) is int and 0 <= value < 2**63


def one_of(*names: str) -> Callable[[Any], bool]:
    def known(value: Any) -> bool:
        return isinstance(value, str) and value in names

    known.__doc__ = "one of " + ", ".join(names)
    return known


def mismatch(value: Any, pattern: Any, name: str = "") -> str | None:
    """The first mismatch, like `epoch must be int, it is "x"`; None if `value` matches."""
    if isinstance(pattern, Optional):
        return None if value is None else mismatch(value, pattern.pattern, name)
    if isinstance(pattern, Values):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return _wrong(value, name, "an object")
        found = (mismatch(inner, pattern.pattern, _join(name, key)) for key, inner in value.items())
        return next((problem for problem in found if problem), None)
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return _wrong(value, name, "an object")
        for field, inner in pattern.items():
            if field not in value and not isinstance(inner, Optional):
                return f"{_join(name, field)} is missing"
            if problem := mismatch(value.get(field), inner, _join(name, field)):
                return problem
        return None
    if isinstance(pattern, list):
        if not isinstance(value, list):
            return _wrong(value, name, "a list")
        items = (mismatch(item, pattern[0], f"{name}[{i}]") for i, item in enumerate(value))
        return next((problem for problem in items if problem), None)
    if not isinstance(pattern, type):
        return None if pattern(value) else _wrong(value, name, pattern.__doc__)
    if pattern is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and _is_finite(value) else _wrong(value, name, "a finite number")
    if not isinstance(value, pattern) or (pattern is int and isinstance(value, bool)):
        return _wrong(value, name, pattern.__name__)
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _join(name: str, field: str) -> str:
    field = printable(field[:80])
    return f"{name}.{field}" if name else field


def _wrong(value: Any, name: str, wanted: str) -> str:
    scalar = isinstance(value, str | float | None) or (
        isinstance(value, int) and abs(value) < 2**64  # Python may refuse to print larger ones
    )
    shown = repr(value) if scalar else type(value).__name__
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{name or 'the whole'} must be {wanted}, it is {shown}"
