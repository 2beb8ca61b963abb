"""Values of --set: text -> a value of the type that a field is annotated with.

true, false     bool                3,4     tuple[int, ...], and of as many as the type says
30              int                 none    where None is allowed
5e-5            float               sgd     Literal: one of its choices
"""

import math
import types
from contextlib import suppress
from typing import Any, Literal, Union, get_args, get_origin

from shared.commandline import did_you_mean
from shared.errors import InputError

WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


def parsed(key: str, text: str, hint: Any) -> Any:
    """Raises InputError if `text` does not say a value of this type."""
    try:
        return _read(text, hint)
    except ValueError as error:
        near = did_you_mean(text, get_args(hint)) if get_origin(hint) is Literal else ""
        raise InputError(
            f"--set {key} must be {hint_in_words(hint)}: got {text[:60]!r}{near.rstrip('.')}"
        ) from error
    except TypeError as error:
        raise InputError(
            f"--set cannot give {key}, which is {hint_in_words(hint)}: write the recipe into a "
            f"file for --recipe"
        ) from error


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value has the type: whole numbers count as float, true and false as bool only."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inside
    if origin in (Union, types.UnionType):
        return any(is_of(value, each) for each in inside)
    if origin is tuple:
        kinds = [inside[0]] * len(value) if inside[1:] == (...,) else inside
        return (
            isinstance(value, tuple)
            and len(value) == len(kinds)
            and all(is_of(inner, each) for inner, each in zip(value, kinds, strict=True))
        )
    if hint in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (hint is float and isinstance(value, float) and math.isfinite(value))
    return isinstance(value, hint)


def hint_in_words(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in (Union, types.UnionType):
        return " or ".join(hint_in_words(each) for each in inside)
    if origin is tuple:
        if inside[1:] == (...,):
            return "whole numbers like 3,4" if inside[0] is int else "values like a,b"
        return f"{len(inside)} numbers like 0.9,0.999"
    if hint is type(None):
        return "none"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _read(text: str, hint: Any) -> Any:
    """Raises ValueError if the text does not fit, TypeError if no text can say such a value."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {str(choice): choice for choice in inside}[_among(text, inside)]
    if origin in (Union, types.UnionType):
        if type(None) in inside and text.lower() == "none":
            return None
        return _first(text, [each for each in inside if each is not type(None)])
    if origin is tuple:
        parts = text.split(",")
        kinds = [inside[0]] * len(parts) if inside[1:] == (...,) else list(inside)
        if len(kinds) != len(parts):
            raise ValueError(f"{len(parts)} values")
        return tuple(_read(part, kind) for part, kind in zip(parts, kinds, strict=True))
    if hint is bool:
        return _among(text.lower(), ("false", "true")) == "true"
    if hint not in (int, float, str):
        raise TypeError(hint)
    value = hint(text)
    if hint is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _first(text: str, hints: list[Any]) -> Any:
    for hint in hints[:-1]:
        with suppress(ValueError):
            return _read(text, hint)
    return _read(text, hints[-1])


def _among(text: str, choices: tuple[Any, ...]) -> str:
    if text not in map(str, choices):
        raise ValueError(text)
    return text
