"""What made a cache. Two runs may fill one cache only if all of this is equal.

`manifest.json` is written once, by whoever comes first, and changes later only in `views`, when
views are added. Blocks carry their own receipts, so no process ever rewrites a shared file while
others work. It holds no time and no absolute path of the machine but what the user typed.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from shared.errors import InputError
from shared.store.sealed import seal, unseal

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

# Facts that may differ between runs that fill one cache: where things lay, and what wrote it.
_INFORMATIVE = ("views", "source.spec", "teacher.weights", "versions")


@dataclass(frozen=True)
class SourceFacts:
    spec: str  # as typed
    samples: int
    digest: str  # of the listing: class names, keys, labels, sizes
    classes: tuple[str, ...]


@dataclass(frozen=True)
class TeacherFacts:
    architecture: str
    stem: str
    classes: int
    channels: tuple[int, ...]  # C_s of the four stages
    weights: str  # as typed
    sha256: str  # of the weights
    head_sha256: str  # of the last layer alone


@dataclass(frozen=True)
class Manifest:
    format: str  # "zarr"
    split: str
    source: SourceFacts
    policy: str
    size: int  # pixels
    seed: int
    views: int
    interpolation: str
    antialias: bool
    decoder: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    teacher: TeacherFacts
    precision: str
    codec: str
    codec_version: int
    block: int  # samples
    versions: dict[str, str]

    @property
    def samples(self) -> int:
        return self.source.samples

    @property
    def blocks(self) -> int:
        """Blocks of one view."""
        return -(-self.samples // self.block)

    def rows(self, block: int) -> range:
        """Sample indices of a block."""
        return range(block * self.block, min((block + 1) * self.block, self.samples))

    def cache_id(self) -> str:
        """Twelve hex digits that name what was cached, whatever the number of views."""
        facts = json.dumps(sorted(_identity(self)), separators=(",", ":"))
        return hashlib.sha256(facts.encode()).hexdigest()[:12]

    def with_views(self, views: int) -> "Manifest":
        return replace(self, views=views)

    def to_json(self) -> bytes:
        return seal({"format_version": FORMAT_VERSION, "cache_id": self.cache_id(), **asdict(self)})

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "Manifest":
        """InputError where `data` is no manifest of this version or was changed since."""
        try:
            facts: dict[str, Any] = json.loads(data)
            version = facts["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"a cache starts with a manifest in JSON: {where} is none ({error!r}); restore the "
                f"file or make the cache anew"
            ) from error
        if version != FORMAT_VERSION:
            raise InputError(
                f"this version reads caches of format version {FORMAT_VERSION}: {where} has "
                f"{version}; use the version of the code that wrote it"
            )
        try:
            facts = unseal(data)
        except ValueError as error:
            raise InputError(
                f"a manifest is never edited: {where} was, or is damaged ({error}); restore it or "
                f"make the cache anew"
            ) from error
        try:
            del facts["format_version"], facts["cache_id"]
            source = {**facts["source"], "classes": tuple(facts["source"]["classes"])}
            teacher = {**facts["teacher"], "channels": tuple(facts["teacher"]["channels"])}
            return cls(
                **{
                    **facts,
                    "source": SourceFacts(**source),
                    "teacher": TeacherFacts(**teacher),
                    "mean": tuple(facts["mean"]),
                    "std": tuple(facts["std"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"a manifest holds every fact of its version: {where} does not ({error}); restore "
                f"the file or make the cache anew"
            ) from error

    def require_same(self, other: "Manifest", where: str) -> None:
        """InputError naming the first fact in which this run differs from the cache at `where`."""
        mine, theirs = dict(_identity(self)), dict(_identity(other))
        for name, value in mine.items():
            if theirs[name] != value:
                raise InputError(
                    f"a cache is never mixed: {where} has {name} {_short(theirs[name])}, this run "
                    f"asks for {_short(value)}; give the same, or another --cache"
                )

    def require_comparable(self, val: "Manifest", where: str) -> None:
        """InputError unless a cached val split holds what a student of this cache would see."""
        mine = (self.source.classes, self.size, self.mean, self.std, "webdataset", "center")
        theirs = (val.source.classes, val.size, val.mean, val.std, val.format, val.policy)
        if mine != theirs:
            raise InputError(
                f"a cached val split has the classes, size and normalisation of train, format "
                f"webdataset and policy center: {where} has {len(val.source.classes)} classes, "
                f"{val.size} px, {val.format}, {val.policy}; make it anew with precompute/run.py "
                f"--split val --format webdataset, or give --images"
            )


def _short(value: str) -> str:
    return value if len(value) <= 80 else value[:77] + "..."


def _identity(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, value) of every fact that must be equal, names as a user says them."""
    for name, value in asdict(manifest).items():
        facts = value.items() if isinstance(value, dict) and name != "versions" else [(None, value)]
        for inner, fact in facts:
            full = f"{name}.{inner}" if inner else name
            if full not in _INFORMATIVE:
                yield full.replace(".", " "), json.dumps(fact)
