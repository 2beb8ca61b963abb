"""Expands brace patterns of paths as bash does: `DIR/{train-{0000..0099},val-00}.tar`.

braceexpand builds all paths at once, and a typo or a few dozen characters can stand for more paths
than fit into memory. So the paths are counted first.
"""

import re
from collections.abc import Iterator

from braceexpand import braceexpand

from shared.errors import InputError
from shared.images.listing import shown

MAX_PATHS = 100_000
MAX_TEXT = 1 << 28  # characters in all paths together
MAX_DEPTH = 50  # of nested braces

_NUMBERS = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.-?(\d{1,18}))?")
_LETTERS = re.compile(r"[A-Za-z]\.\.[A-Za-z](?:\.\.-?\d{1,18})?")
_RANGE = re.compile(r"-?\d+\.\.-?\d+(\.\.-?\d+)?|[A-Za-z]\.\.[A-Za-z]\.\.-?\d+")


def expand(pattern: str) -> list[str]:
    """The paths that `pattern` stands for.

    Raises InputError if the braces do not match or stand for more than MAX_PATHS paths.
    """
    depth = 0
    for at in _unescaped(pattern):
        depth += {"{": 1, "}": -1}.get(pattern[at], 0)
        if not 0 <= depth <= MAX_DEPTH:
            break
    if depth:
        raise InputError(
            f"--images {shown(pattern)} has braces that do not come in pairs, or more than "
            f"{MAX_DEPTH} deep: close each {{ with a }}"
        )
    count = _count(pattern)
    if count is None:
        raise InputError(f"--images {shown(pattern)} has a range with too many digits: correct it")
    if count > MAX_PATHS or count * len(pattern) > MAX_TEXT:
        number = f"{count:,}" if count < 10**15 else "more than 10^15"
        raise InputError(
            f"--images {shown(pattern)} names {number} tars, more than the {MAX_PATHS:,} that are "
            f"taken: correct its ranges"
        )
    try:
        return list(braceexpand(pattern))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--images {shown(pattern)} has braces that cannot be expanded: correct them"
        ) from error


def _unescaped(text: str) -> Iterator[int]:
    """Positions of the characters that are not escaped by a backslash."""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        yield at
        at += 1


def _count(pattern: str) -> int | None:
    """How many paths a pattern stands for; None if it has a range with too many digits."""
    count, depth, start = 1, 0, 0
    for at in _unescaped(pattern):
        if pattern[at] == "{":
            start = start if depth else at + 1
            depth += 1
        elif pattern[at] == "}":
            depth -= 1
            if depth == 0:
                choices = _choices(pattern[start:at])
                if choices is None:
                    return None
                count *= choices
    return count


def _choices(inside: str) -> int | None:
    """The same for the text between a pair of braces."""
    if numbers := _NUMBERS.fullmatch(inside):
        first, last, step = (int(number or 1) for number in numbers.groups())
        return abs(last - first) // (step or 1) + 1
    if _LETTERS.fullmatch(inside):
        return 52  # an upper bound
    if _RANGE.fullmatch(inside):
        return None
    parts, depth, start = [], 0, 0
    for at in _unescaped(inside):
        depth += {"{": 1, "}": -1}.get(inside[at], 0)
        if inside[at] == "," and depth == 0:
            parts.append(inside[start:at])
            start = at + 1
    counts = [_count(part) for part in (*parts, inside[start:])]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
