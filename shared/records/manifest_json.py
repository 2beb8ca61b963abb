"""Writes a manifest as JSON, and parses it with checks of every fact and of their consistency."""

import math
from dataclasses import MISSING, asdict, fields
from typing import Any

from shared.choices import has_one_view
from shared.errors import InputError
from shared.files.sealed import parse_object, seal, unseal
from shared.pixels.augmentation import parse_augmentation
from shared.pixels.view import CENTER
from shared.records.identity import cache_id
from shared.records.manifest import Manifest, SourceFacts, TeacherFacts
from shared.records.manifest_schema import (
    FORMAT_VERSION,
    MOST_BLOCKS,
    MOST_NUMBERS,
    ORDERS,
    VERSION_1,
    VERSION_2,
)
from shared.records.teacher_batches import misfit
from shared.targets.codecs import CODECS
from shared.targets.kinds import BASE, kind_of

# Facts of a teacher that the JSON has only if they are not these.
_USUAL = {fact.name: fact.default for fact in fields(TeacherFacts) if fact.default is not MISSING}


def manifest_json(manifest: Manifest) -> bytes:
    facts = asdict(manifest)
    if manifest.format_version == 1:
        del facts["order"], facts["converted_from"]
    if manifest.statistics == "eval":
        del facts["statistics"], facts["teacher_batch"]
    for name, usual in _USUAL.items():
        if facts["teacher"][name] == usual:
            del facts["teacher"][name]
    if manifest.crop == CENTER:
        del facts["crop"]
    if manifest.targets == BASE:
        del facts["targets"]
    if not manifest.added:
        del facts["added"]
    if manifest.augment is None:
        del facts["augment"]
    return seal({"cache_id": cache_id(manifest), **facts})


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Raises InputError if `data` is not a manifest that this version can use."""
    try:
        facts = parse_object(data)
        version = facts["format_version"]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{where} is not a manifest in JSON ({error!r}): "
            f"restore the file, or make the cache again"
        ) from error
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise InputError(
            f"{where} has format version {str(version)[:20]!r}, and this code reads 1 to "
            f"{FORMAT_VERSION}: use the version of the code that wrote it"
        )
    try:
        facts = unseal(data)
    except ValueError as error:
        raise InputError(
            f"the manifest {where} was edited or is damaged ({error}): restore it, or make the "
            f"cache again"
        ) from error
    try:
        return _from_facts(facts)
    except ValueError as error:
        raise InputError(
            f"the manifest {where} holds facts that this code cannot use ({error}): restore "
            f"the file, use the version of the code that wrote it, or make the cache again"
        ) from error


def _from_facts(facts: dict[str, Any]) -> Manifest:
    """Raises ValueError, with one line, if a fact is missing or invalid."""
    if facts["format_version"] == 1:
        VERSION_1(facts, "")
        facts = {**facts, "order": "source", "converted_from": None}
    else:
        VERSION_2(facts, "")
    named = facts.pop("cache_id")
    source = {**facts["source"], "classes": tuple(facts["source"]["classes"])}
    lists = ("channels", "stage_modules", "class_map")
    teacher: dict[str, Any] = {
        name: tuple(fact) if name in lists else fact for name, fact in facts["teacher"].items()
    }
    manifest = Manifest(
        **{
            **facts,
            "source": SourceFacts(**source),
            "teacher": TeacherFacts(**teacher),
            "mean": tuple(facts["mean"]),
            "std": tuple(facts["std"]),
            "targets": tuple(facts.get("targets", BASE)),
            "added": {name: tuple(s) for name, s in facts.get("added", {}).items()},
        }
    )
    _require_consistent(manifest, named)
    return manifest


def _require_consistent(manifest: Manifest, named: str) -> None:
    """Raises ValueError if facts that are valid by themselves contradict each other."""
    if manifest.format_version > 1 and manifest.order != ORDERS[manifest.format]:
        raise ValueError(
            f"order must be {ORDERS[manifest.format]} in the format {manifest.format}: got "
            f"{manifest.order}"
        )
    if manifest.views * manifest.blocks > MOST_BLOCKS:
        raise ValueError(
            f"{manifest.views:,} views of {manifest.blocks:,} blocks are too many, at most "
            f"{MOST_BLOCKS:,} blocks are possible: take larger blocks"
        )
    version = CODECS[manifest.codec].version
    if manifest.codec_version != version:
        raise ValueError(
            f"codec_version of {manifest.codec} must be {version}: got {manifest.codec_version}"
        )
    _require_augmentation(manifest)
    _require_batches(manifest)
    _require_kinds(manifest)
    if manifest.converted_from is not None and manifest.codec != "tiny":
        raise ValueError(f"converted_from must be empty for codec {manifest.codec}: got half")
    if cache_id(manifest) != named:
        raise ValueError(f"cache_id must be {cache_id(manifest)}: got {named}")


def _require_augmentation(manifest: Manifest) -> None:
    """Raises ValueError unless `augment` is one that the policy can have, in its usual form."""
    if manifest.augment is None:
        return
    if (found := str(parse_augmentation(manifest.augment, "augment"))) != manifest.augment:
        raise ValueError(f"augment must be written as {found}: got {manifest.augment[:60]!r}")
    if has_one_view(manifest.policy):
        raise ValueError(f"augment must not be given with the policy {manifest.policy}")


def _require_batches(manifest: Manifest) -> None:
    """Raises ValueError unless there are batches exactly for statistics "batch", and they fit."""
    if (manifest.statistics == "batch") != (manifest.teacher_batch is not None):
        raise ValueError(
            f"teacher_batch must be given with the statistics batch, and only then: got "
            f"{manifest.teacher_batch} with {manifest.statistics}"
        )
    if manifest.teacher_batch is None:
        return
    if manifest.order != "permuted":
        raise ValueError(
            f"order must be permuted with the statistics batch: got {manifest.order}, in which a "
            f"batch may hold a single class"
        )
    if wrong := misfit(manifest.samples, manifest.block, manifest.teacher_batch):
        raise ValueError(wrong)


def _require_kinds(manifest: Manifest) -> None:
    """Raises ValueError unless each kind is known, listed once and has a possible shape."""
    if list(manifest.targets) != [name for name in BASE if name in manifest.targets]:
        raise ValueError(
            f"targets must be among {', '.join(BASE)}, in this order: got {manifest.targets}"
        )
    for name, shape in manifest.added.items():
        kind = kind_of(name)
        if name in manifest.targets:
            raise ValueError(f"{name} is both in targets and in added")
        if kind.by_stage and shape != (sum(manifest.teacher.channels),):
            raise ValueError(f"added.{name} must be as wide as the stages: got {shape}")
        if math.prod(shape) > MOST_NUMBERS:
            raise ValueError(f"added.{name} must have at most {MOST_NUMBERS:,} numbers")
