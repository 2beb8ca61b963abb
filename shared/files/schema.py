"""Composable checks for the values in a JSON object.

A check takes a value and its name, and raises ValueError with one line: the name, the rule and the
value found. A value that passes has the type that the code expects, lies in a range that it
supports, and has no unknown fields.

Making up the name of every item takes longer than checking it, so what is inside a list or an
object is checked without names, and a second time with names if that fails.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping

Check = Callable[[object, str], None]

LONGEST = 1 << 16  # characters in a text
_DIGEST = re.compile(r"[0-9a-f]+")


def integer(least: int, most: int) -> Check:
    """An integer in least..most, inclusive; True and False do not count as integers."""

    def check(value: object, name: str) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _wrong(name, f"a whole number, {least:,} to {most:,}", value)

    return check


def number(above: float, most: float) -> Check:
    def check(value: object, name: str) -> None:
        rule = f"a number above {above:g}, at most {most:g}"
        # an int may be too large to become a float
        if type(value) not in (int, float) or not above < value <= most:  # type: ignore[operator]
            raise _wrong(name, rule, value)
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise _wrong(name, rule, value)

    return check


def share(value: object, name: str) -> None:
    """A number from 0 to 1, inclusive."""
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise _wrong(name, "a number from 0 to 1", value)


def boolean(value: object, name: str) -> None:
    if type(value) is not bool:
        raise _wrong(name, "true or false", value)


def text(value: object, name: str) -> None:
    if type(value) is not str or len(value) > LONGEST:
        raise _wrong(name, f"a text of at most {LONGEST:,} characters", value)


def digest(digits: int) -> Check:
    def check(value: object, name: str) -> None:
        if type(value) is not str or len(value) != digits or not _DIGEST.fullmatch(value):
            raise _wrong(name, f"{digits} hexadecimal digits", value)

    return check


sha256 = digest(64)


def one_of(values: Collection[str | None]) -> Check:
    def check(value: object, name: str) -> None:
        if not (value is None or type(value) is str) or value not in values:
            raise _wrong(name, " or ".join(str(known) for known in values), value)

    return check


def many(check_item: Check, least: int, most: int) -> Check:
    def check(value: object, name: str) -> None:
        if type(value) is not list or not least <= len(value) <= most:
            count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            raise _wrong(name, f"a list of {count}", value)
        try:
            for item in value:
                check_item(item, "")
        except ValueError:
            for place, item in enumerate(value):
                check_item(item, f"{name}[{place}]")
            raise

    return check


def in_turn(*checks: Check) -> Check:
    """A list of fixed length with one check per item."""

    def check(value: object, name: str) -> None:
        if type(value) is not list or len(value) != len(checks):
            raise _wrong(name, f"a list of {len(checks)}", value)
        try:
            for item, check_item in zip(value, checks, strict=True):
                check_item(item, "")
        except ValueError:
            for place, (item, check_item) in enumerate(zip(value, checks, strict=True)):
                check_item(item, f"{name}[{place}]")
            raise

    return check


def mapping(check_key: Check, check_value: Check) -> Check:
    def check(value: object, name: str) -> None:
        if type(value) is not dict:
            raise _wrong(name, "an object", value)
        try:
            for key, item in value.items():
                check_key(key, "")
                check_value(item, "")
        except ValueError:
            for key, item in value.items():
                check_key(key, f"a name in {name}")
                check_value(item, f"{name}[{_shown(key)}]")
            raise

    return check


def decimal(value: object, name: str) -> None:
    """An integer as text, as in the keys of a JSON object: 0 to 999,999,999,999."""
    if (
        type(value) is not str
        or not re.fullmatch(r"0|[1-9][0-9]{0,11}", value)
        or not value.isascii()
    ):
        raise _wrong(name, "a whole number in digits", value)


def record(fields: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with all of `fields`, any of `optional`, and no other fields."""
    known = {**fields, **(optional or {})}

    def check(value: object, name: str) -> None:
        if type(value) is not dict:
            raise _wrong(name, "an object", value)
        for field in fields:
            if field not in value:
                raise ValueError(f"{_inside(name, field)} is missing")
        for field in value:
            if field not in known:
                raise ValueError(f"{_inside(name, _shown(field))} is not a field of this version")
        try:
            for field, item in value.items():
                known[field](item, "")
        except ValueError:
            for field, item in value.items():
                known[field](item, _inside(name, field))
            raise

    return check


def _inside(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field


def _wrong(name: str, rule: str, value: object) -> ValueError:
    return ValueError(f"{name} must be {rule}: got {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, (list, dict)):  # repr could be long or nested too deeply
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value):,}"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
