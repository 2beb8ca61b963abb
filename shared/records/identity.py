"""Which facts of a manifest identify a cache, and the name (cache_id) that follows from them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict

from shared import choices
from shared.errors import InputError
from shared.pixels.view import CENTER
from shared.records.manifest import Manifest
from shared.targets.kinds import BASE

# Facts that may differ between runs that fill one cache: paths, versions, views and added kinds.
_INFORMATIVE = (
    "format_version",
    "views",
    "added",
    "source.spec",
    "teacher.weights",
    "teacher.rows",
    "versions",
)
# Facts added to the manifest later, with the values that earlier caches imply. A fact with this
# value does not enter the name, so that the names of earlier caches stay the same.
_AS_EVER = {
    "order": '"source"',
    "converted_from": "null",
    "statistics": '"eval"',
    "teacher_batch": "null",
    "targets": json.dumps(BASE),
    "teacher embedding": "null",
    "teacher linear": "true",
    "teacher signed": "false",
    "teacher stage_modules": "null",
    "teacher class_map": "null",
    "crop": json.dumps(CENTER),
    "augment": "null",
}


def cache_id(manifest: Manifest) -> str:
    """Twelve hex digits that identify what is cached; independent of the number of views."""
    named = [(name, fact) for name, fact in _identity(manifest) if _AS_EVER.get(name) != fact]
    facts = json.dumps(sorted(named), separators=(",", ":"))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def require_same(mine: Manifest, other: Manifest, where: str) -> None:
    """Raises InputError naming the first fact in which this run and the cache `where` differ; a
    hash, which says least, only if nothing else does."""
    facts, theirs = dict(_identity(mine)), dict(_identity(other))
    for name, value in sorted(facts.items(), key=lambda fact: "sha256" in fact[0]):
        if theirs[name] != value:
            raise InputError(
                f"the cache {where} was made with {name} {_short(theirs[name])} and this run "
                f"asks for {_short(value)}: give the same, or another --cache"
            )


def require_comparable(train: Manifest, val: Manifest, where: str) -> None:
    """Raises InputError unless the cached val split fits students trained on `train`."""
    mine = (train.source.classes, train.size, train.mean, train.std, train.interpolation, True)
    theirs = (val.source.classes, val.size, val.mean, val.std, val.interpolation, val.holds_pixels)
    if mine != theirs or not choices.has_one_view(val.policy):
        raise InputError(
            f"the cached val split {where} has {len(val.source.classes)} classes, {val.size} "
            f"px, {val.format}, {val.policy}, and it must have the classes, size, "
            f"interpolation and normalisation of train, format webdataset and policy "
            f"{choices.VAL_POLICY} or center: make it again with precompute/run.py --split val "
            f"--format webdataset, or give --images"
        )


def _short(value: str) -> str:
    return value if len(value) <= 80 else value[:77] + "..."


def _identity(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, value) of every fact that must be equal; nested names are written "teacher stem"."""
    for name, value in asdict(manifest).items():
        nested = isinstance(value, dict) and name not in ("versions", "added")
        facts = value.items() if nested else [(None, value)]
        for inner, fact in facts:
            full = f"{name}.{inner}" if inner else name
            if full not in _INFORMATIVE:
                yield full.replace(".", " "), json.dumps(fact)
