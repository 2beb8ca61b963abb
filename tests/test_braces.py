"""Brace patterns: what braceexpand makes of them, and a bound before it makes anything."""

import pytest
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.images.braces import MAX_PATHS, _count, expand


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("a.tar", 1),
        ("{train-{000..099},val-{00..07}}.tar", 108),
        ("{a,b}{c,d}{0..9}", 40),
        ("{0..10..3}", 4),
        ("{10..0..-3}", 4),
        ("{5}", 1),
        (r"\{0..9\}", 1),
        ("{,a}", 2),
        ("{}", 1),
        ("{a..c}", 3),
        ("{0..99999}", MAX_PATHS),
    ],
)
def test_expansion(pattern: str, count: int) -> None:
    assert expand(pattern) == list(braceexpand(pattern))
    assert len(expand(pattern)) == count


@settings(max_examples=300, deadline=None)
@given(st.text("{},.-0129ab\\", max_size=24))
def test_the_count_is_never_too_small(pattern: str) -> None:
    """And whatever was written is paths or one line."""
    try:
        found = expand(pattern)
    except InputError as error:
        assert "\n" not in str(error)
        return
    counted = _count(pattern)
    assert counted is not None and counted >= len(found)


BOMBS = {
    "range": "{0..999999999}",
    "range of many digits": "{0..999999999999999999999999}",
    "range of 10,000 digits": "{0.." + "9" * 10_000 + "}",
    "padding": "{" + "0" * 5000 + "1..99999}",
    "product": "{a,b}" * 40,
    "product of ranges": "{0..999}{0..999}{0..999}",
    "nested": "{a,{b,{c,{0..9999999}}}}",
    "sum": "{" + ",".join(["{0..9999}"] * 20) + "}",
    "one more": f"{{0..{MAX_PATHS}}}",
    "long": "x" * 5000 + "{0..99999}",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_counted_and_not_expanded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.images.braces.braceexpand", None)  # never called
    with pytest.raises(InputError) as caught:
        expand(BOMBS[kind])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "pattern", ["{", "}", "}{", "a{b", "{a}}", "{" * 60 + "}" * 60, "{" * 10**5]
)
def test_braces_that_do_not_match(pattern: str) -> None:
    with pytest.raises(
        InputError,
        match=r"^--images .* has braces that do not come in pairs, or more than 50 deep: ",
    ):
        expand(pattern)
