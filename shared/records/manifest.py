"""What made a cache. Two runs may fill one cache only if all of this is equal.

`manifest.json` is written once, by whoever comes first, and changes later only in `views`, when
views are added. Blocks carry their own receipts, so no process ever rewrites a shared file while
others work. It holds no time and no absolute path of the machine but what the user typed.

The *order* says which samples a block is of. A block is a range of positions, and position p is

    "source"      sample p of the source                    zarr, and all of version 1
    "permuted"    sample permutation(seed, N)[p]            view shards, from version 2

because view shards are streamed as they lie, and the folders of most sources are sorted by class:
in the source's order a shuffle buffer of 2,048 samples spans 1.6 classes of ImageNet. The
permutation sorts N raw Philox words, which NumPy promises to keep (NEP 19); the seed and the
purpose "blocks" stand each in a key word of their own.

Version 2 also keeps the samples' keys (keys.py), and its receipts name the arithmetic (block.py).
What version 1 wrote is read, verified and grown as what it is.

The *statistics* say what the teacher's BatchNorm layers normalise with: "eval", the running
statistics in the weights, or "batch", those of fixed batches of `teacher_batch` samples
(teacher_batches.py). A manifest names them only where they are "batch": all that lack them are of
"eval", and a reader that does not know them refuses the others.

The *targets* are the kinds of shared/targets/kinds.py that the cache keeps. Logits and channel
means, as far as they were asked for when the cache began, lie in its blocks, beside box and flip;
a manifest names them only where it is not both. Every other kind is a *layer* of its own, with
files and receipts of its own: it can be *added* at any time, touches nothing that is there, and
has the same bytes whenever that is.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import choices
from shared.errors import InputError
from shared.files.sealed import parse_object, seal, unseal
from shared.records.manifest_schema import (
    FORMAT_VERSION,
    HOLDS_PIXELS,
    MOST_BLOCKS,
    MOST_NUMBERS,
    ORDERS,
    VERSION_1,
    VERSION_2,
)
from shared.records.permutation import inverse_permutation, permutation
from shared.records.teacher_batches import misfit
from shared.targets.codecs import CODECS, Encoding, Kept
from shared.targets.kinds import BASE, kind_of

MANIFEST = "manifest.json"

# Facts that may differ between runs that fill one cache: where things lay, and what wrote it.
_INFORMATIVE = ("format_version", "views", "added", "source.spec", "teacher.weights", "versions")
# Facts that came later, as every cache before them had them: they do not count in its name.
_AS_EVER = {
    "order": '"source"',
    "converted_from": "null",
    "statistics": '"eval"',
    "teacher_batch": "null",
    "targets": json.dumps(BASE),
}


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
    channels: tuple[int, ...]  # C_s of each stage
    weights: str  # as typed
    sha256: str  # of the weights
    head_sha256: str  # of the last layer alone


@dataclass(frozen=True)
class Manifest:
    format_version: int
    format: str  # "zarr" or "webdataset"
    order: str  # of samples over blocks: "source" or "permuted"
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
    # What the teacher's BatchNorm layers normalise with: "eval" or "batch". It stands before the
    # block size, which follows from it, so that a run that differs in both is told of this one.
    statistics: str = field(default="eval", kw_only=True)
    teacher_batch: int | None = field(default=None, kw_only=True)  # samples; None with "eval"
    codec: str
    codec_version: int
    block: int  # samples
    versions: dict[str, str]
    # "half" where the fields were made of half's and not by the teacher (precompute/convert.py)
    converted_from: str | None = None
    targets: tuple[str, ...] = BASE  # kinds in the blocks: of logits and channels
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # every other -> its shape

    @property
    def samples(self) -> int:
        return self.source.samples

    @property
    def holds_pixels(self) -> bool:
        """Whether the views themselves are in the cache, as JPEGs."""
        return self.format in HOLDS_PIXELS

    @property
    def blocks(self) -> int:
        """Blocks of one view."""
        return -(-self.samples // self.block)

    @property
    def layers(self) -> tuple[str, ...]:
        """What has files and receipts of its own: "", the blocks themselves, and added kinds."""
        return ("", *sorted(self.added))

    @property
    def encoding(self) -> Encoding:
        """Every kind that is kept, and how."""
        shapes = {
            "logits": (self.teacher.classes,),
            "channels": (sum(self.teacher.channels),),
            **self.added,
        }
        names = (*self.targets, *self.layers[1:])
        kept = (Kept(name, tuple(shapes[name]), self.teacher.channels) for name in names)
        return Encoding(self.codec, tuple(kept))

    def kinds_of(self, layer: str) -> tuple[str, ...]:
        return (layer,) if layer else self.targets

    def layer_of(self, name: str) -> str:
        """The layer that holds a field, or box, flip and pred."""
        found = (kind for kind in self.added if name in self.encoding.fields([kind]))
        return next(found, "")

    def layers_for(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """Those that must be there for such targets, the blocks themselves first."""
        fields = self.encoding.needed(kinds)
        return ("", *sorted({layer for name in fields if (layer := self.layer_of(name))}))

    def rows(self, block: int) -> range:
        """Positions of a block."""
        return range(block * self.block, min((block + 1) * self.block, self.samples))

    def samples_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples, as indices into the source, at some positions."""
        if self.order == "source":
            return positions
        return permutation(self.seed, self.samples)[positions]

    def samples_of(self, block: int) -> NDArray[np.int64]:
        """(n,) samples of a block, in its order."""
        rows = self.rows(block)
        return self.samples_at(np.arange(rows.start, rows.stop))

    def place(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of samples: the inverse of `samples_at`. position // block is the block."""
        if self.order == "source":
            return samples
        return inverse_permutation(self.seed, self.samples)[samples]

    def cache_id(self) -> str:
        """Twelve hex digits that name what was cached, whatever the number of views."""
        named = [(name, fact) for name, fact in _identity(self) if _AS_EVER.get(name) != fact]
        facts = json.dumps(sorted(named), separators=(",", ":"))
        return hashlib.sha256(facts.encode()).hexdigest()[:12]

    def with_views(self, views: int) -> "Manifest":
        return replace(self, views=views)

    def with_added(self, more: Mapping[str, tuple[int, ...]]) -> "Manifest":
        return replace(self, added={**more, **self.added}) if more else self

    def as_version_of(self, there: "Manifest") -> "Manifest":
        """This run's facts for a cache that an earlier version began: its version and order."""
        if there.format_version >= self.format_version:
            return self
        return replace(self, format_version=there.format_version, order=there.order)

    def to_json(self) -> bytes:
        facts = asdict(self)
        if self.format_version == 1:
            del facts["order"], facts["converted_from"]
        if self.statistics == "eval":
            del facts["statistics"], facts["teacher_batch"]
        if self.targets == BASE:
            del facts["targets"]
        if not self.added:
            del facts["added"]
        return seal({"cache_id": self.cache_id(), **facts})

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "Manifest":
        """InputError where `data` is not a manifest that this version can use."""
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
            return cls._from_facts(facts)
        except ValueError as error:
            raise InputError(
                f"the manifest {where} holds facts that this code cannot use ({error}): restore "
                f"the file, use the version of the code that wrote it, or make the cache again"
            ) from error

    @classmethod
    def _from_facts(cls, facts: dict[str, Any]) -> "Manifest":
        """ValueError, one line, where a fact is not what it must be."""
        if facts["format_version"] == 1:
            VERSION_1(facts, "")
            facts = {**facts, "order": "source", "converted_from": None}
        else:
            VERSION_2(facts, "")
        cache_id = facts.pop("cache_id")
        source = {**facts["source"], "classes": tuple(facts["source"]["classes"])}
        teacher = {**facts["teacher"], "channels": tuple(facts["teacher"]["channels"])}
        manifest = cls(
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
        manifest._require_consistent(cache_id)
        return manifest

    def _require_consistent(self, cache_id: str) -> None:
        """ValueError where facts that are right alone contradict each other."""
        if self.format_version > 1 and self.order != ORDERS[self.format]:
            raise ValueError(
                f"order must be {ORDERS[self.format]} in the format {self.format}: got {self.order}"
            )
        if self.views * self.blocks > MOST_BLOCKS:
            raise ValueError(
                f"{self.views:,} views of {self.blocks:,} blocks are too many, at most "
                f"{MOST_BLOCKS:,} blocks are possible: take larger blocks"
            )
        version = CODECS[self.codec].version
        if self.codec_version != version:
            raise ValueError(
                f"codec_version of {self.codec} must be {version}: got {self.codec_version}"
            )
        self._require_batches()
        self._require_kinds()
        if self.converted_from is not None and self.codec != "tiny":
            raise ValueError(f"converted_from must be empty for codec {self.codec}: got half")
        if self.cache_id() != cache_id:
            raise ValueError(f"cache_id must be {self.cache_id()}: got {cache_id}")

    def _require_batches(self) -> None:
        """ValueError unless batches are told where the teacher used their statistics, and fit."""
        if (self.statistics == "batch") != (self.teacher_batch is not None):
            raise ValueError(
                f"teacher_batch must be given with the statistics batch, and only then: got "
                f"{self.teacher_batch} with {self.statistics}"
            )
        if self.teacher_batch is None:
            return
        if self.order != "permuted":
            raise ValueError(
                f"order must be permuted with the statistics batch: got {self.order}, in which a "
                f"batch may hold a single class"
            )
        if wrong := misfit(self.samples, self.block, self.teacher_batch):
            raise ValueError(wrong)

    def _require_kinds(self) -> None:
        """ValueError unless the kinds are known, each in one place and of a shape it can have."""
        if list(self.targets) != [name for name in BASE if name in self.targets]:
            raise ValueError(
                f"targets must be among {', '.join(BASE)}, in this order: got {self.targets}"
            )
        for name, shape in self.added.items():
            kind = kind_of(name)
            if name in self.targets:
                raise ValueError(f"{name} is both in targets and in added")
            if kind.by_stage and shape != (sum(self.teacher.channels),):
                raise ValueError(f"added.{name} must be as wide as the stages: got {shape}")
            if math.prod(shape) > MOST_NUMBERS:
                raise ValueError(f"added.{name} must have at most {MOST_NUMBERS:,} numbers")

    def require_same(self, other: "Manifest", where: str) -> None:
        """InputError naming the first fact in which this run differs from the cache at `where`."""
        mine, theirs = dict(_identity(self)), dict(_identity(other))
        for name, value in mine.items():
            if theirs[name] != value:
                raise InputError(
                    f"the cache {where} was made with {name} {_short(theirs[name])} and this run "
                    f"asks for {_short(value)}: give the same, or another --cache"
                )

    def require_comparable(self, val: "Manifest", where: str) -> None:
        """InputError unless a cached val split holds what a student of this cache would see."""
        mine = (self.source.classes, self.size, self.mean, self.std, True)
        theirs = (val.source.classes, val.size, val.mean, val.std, val.holds_pixels)
        if mine != theirs or not choices.has_one_view(val.policy):
            raise InputError(
                f"the cached val split {where} has {len(val.source.classes)} classes, {val.size} "
                f"px, {val.format}, {val.policy}, and it must have the classes, size and "
                f"normalisation of train, format webdataset and policy {choices.VAL_POLICY} or "
                f"center: make it again with precompute/run.py --split val --format webdataset, or "
                f"give --images"
            )


def _short(value: str) -> str:
    return value if len(value) <= 80 else value[:77] + "..."


def _identity(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, value) of every fact that must be equal, names as a user says them."""
    for name, value in asdict(manifest).items():
        nested = isinstance(value, dict) and name not in ("versions", "added")
        facts = value.items() if nested else [(None, value)]
        for inner, fact in facts:
            full = f"{name}.{inner}" if inner else name
            if full not in _INFORMATIVE:
                yield full.replace(".", " "), json.dumps(fact)
