"""In which settings reported runs differ, and which caches they were trained from."""

from collections.abc import Iterator
from typing import Any

from train.reported import Kind

_RUN = ("epochs", "samples", "processes", "code", "versions")
_LONGEST = 60  # characters of a setting that is not part of the recipe, like a digest
CACHE_HEAD = ("cache", "teacher", "weights", "made of", "codec", "bytes a view", "tails", "for")


def differing(kinds: list[Kind]) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of a table with a column for each kind, of the settings that are not the same
    for all. "-": not recorded, as by earlier versions, or no such term."""
    each = [[_settings(run.facts) for run in kind.runs] for kind in kinds]
    names = dict.fromkeys(name for runs in each for found in runs for name in found)
    rows = []
    for name in names:
        cells = [" / ".join(dict.fromkeys(found.get(name, "-") for found in runs)) for runs in each]
        if len(set(cells)) > 1 or " / " in cells[0]:
            rows.append([name, *cells])
    return ["setting", *(kind.name for kind in kinds)], rows


def caches(kinds: list[Kind]) -> list[list[str]]:
    """Rows of CACHE_HEAD, one for each cache."""
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for kind in kinds:
        facts = kind.runs[0].facts
        if cache := facts.get("cache"):
            key = str(facts["identity"].get("cache") or cache.get("where"))
            found.setdefault(key, (cache, []))[1].append(kind.name)
    return [
        [
            f"{cache.get('where', '-')} ({key[:12]})",
            str(cache.get("teacher") or "-"),
            str(cache.get("weights") or "-"),
            _made_of(cache),
            cache["codec"],
            f"{cache['bytes_per_view']:,.0f}",
            " ".join(f"{share:.2g}" for share in cache.get("tails") or ()) or "-",
            "all" if len(names) == len(kinds) > 1 else ", ".join(names),
        ]
        for key, (cache, names) in found.items()
    ]


def _made_of(cache: dict[str, Any]) -> str:
    if not cache.get("views"):  # earlier versions did not record these
        return "-"
    augmented = f", augmented by {cache['augment']}" if cache.get("augment") else ""
    return (
        f"{cache['views']} views of {cache.get('samples') or 0:,} images at {cache.get('size')} "
        f"px, {cache.get('policy')}{augmented}; {cache.get('format')}"
    )


def _settings(facts: dict[str, Any]) -> dict[str, str]:
    identity = facts["identity"]
    resolved = facts.get("resolved")
    recipe = dict(_flat(resolved)) if resolved else {"recipe": identity["recipe"]}
    rest = {name: value for name, value in identity.items() if name not in ("recipe", "seed")} | {
        name: facts[name] for name in _RUN if name in facts
    }
    shown = {name: _shown(value)[:_LONGEST] for name, value in rest.items() if value is not None}
    return recipe | shown


def _flat(resolved: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of a recipe, and of each term its loss and its weight."""
    for name, value in resolved.items():
        if name == "terms" and isinstance(value, dict):
            for term, parts in value.items():
                for part in ("loss", "weight"):
                    yield f"{term}, {part}", _shown(parts.get(part, "-"))
        elif name not in ("teacher", "student", "paper_top1_error"):
            yield name, _shown(value)


def _shown(value: Any) -> str:
    """On one line; objects as `Steps: value 6, factor 0.9, milestones 30 60`, constants as 6."""
    if isinstance(value, dict) and value.get("class") == "Constant":
        return _shown(value.get("value"))
    if isinstance(value, dict):
        inner = [f"{key} {_shown(item)}" for key, item in value.items() if key != "class"]
        return ": ".join(filter(None, [str(value.get("class", "")), ", ".join(inner)]))
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if isinstance(value, str) and len(value) == 64:  # a digest
        return value[:12]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
