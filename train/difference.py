"""Describes how two recipes differ, field by field, from their texts in run.json.

    >>> difference("Recipe(epochs=3, ema=None)", "Recipe(epochs=5, ema=None)")
    'epochs 3 -> 5'

The texts are parsed but never evaluated, because a run.json may contain anything.
"""

import ast
import warnings
from collections.abc import Iterator

from train.schema import printable

# Fields that earlier versions did not have, as repr writes them where they change nothing. A run
# that was begun without them goes on.
LATER = (
    ", optimizer='sgd'",
    ", nesterov=False",
    ", betas=(0.9, 0.999)",
    ", decay_norms=True",
    ", composition=None",
    ", augment=None",
    ", standardise=False",
    "label_smoothing=0.0",
)
LONGEST = 40  # characters shown of a value
MOST = 6  # fields shown


def same_recipe(old: str, new: str) -> bool:
    for text in LATER:
        old, new = old.replace(text, ""), new.replace(text, "")
    return old == new


def difference(old: str, new: str) -> str:
    """The fields that differ, with old and new values; if not recipes, the shortened texts."""
    before, after = _parsed(old), _parsed(new)
    if not isinstance(before, ast.Call) or not isinstance(after, ast.Call):
        return f"{_short(old)} -> {_short(new)}"
    try:
        found = list(_walk("", before, after))
    except RecursionError:
        found = []
    more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
    return ", ".join([*found[:MOST], *more]) or f"{_short(old)} -> {_short(new)}"


def needs_teacher(recipe: str) -> bool:
    """False if the text is a recipe with teacher=None, else True."""
    parsed = _parsed(recipe)
    teacher = _fields(parsed).get("teacher") if isinstance(parsed, ast.Call) else None
    return not (isinstance(teacher, ast.Constant) and teacher.value is None)


def _parsed(text: str) -> ast.expr | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # about invalid escapes in strings
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _walk(name: str, old: ast.expr, new: ast.expr) -> Iterator[str]:
    if isinstance(old, ast.Call) and isinstance(new, ast.Call) and _kind(old) == _kind(new):
        yield from _pairs(name, _fields(old), _fields(new))
    elif isinstance(old, ast.Tuple) and isinstance(new, ast.Tuple):
        before, after = _items(old), _items(new)
        if before is not None and after is not None:
            yield from _pairs(name, before, after)
        elif ast.unparse(old) != ast.unparse(new):
            yield f"{name} {_short(ast.unparse(old))} -> {_short(ast.unparse(new))}"
    elif ast.unparse(old) != ast.unparse(new):
        yield f"{name} {_short(ast.unparse(old))} -> {_short(ast.unparse(new))}"


def _pairs(name: str, old: dict[str, ast.expr], new: dict[str, ast.expr]) -> Iterator[str]:
    for field in [*old, *(field for field in new if field not in old)]:
        full = f"{name}.{field}" if name else field
        if field not in new:
            yield printable(f"{full} is gone")
        elif field not in old:
            yield printable(f"{full} is new")
        else:
            yield from _walk(printable(full), old[field], new[field])


def _kind(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _fields(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _items(node: ast.Tuple) -> dict[str, ast.expr] | None:
    """Name -> item, if every item is a call with a name, like the terms of a recipe; else None."""
    named = {}
    for item in node.elts:
        fields = _fields(item) if isinstance(item, ast.Call) else {}
        if not isinstance(name := fields.get("name"), ast.Constant):
            return None
        named[str(name.value)] = item
    return named


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
