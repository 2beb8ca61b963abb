"""The manifest of a cache: what it was made from. Runs can fill the same cache only if this agrees.

`manifest.json` is written once, by the first process. Later it changes only in `views` and `added`,
when views or kinds of targets are added. Progress is recorded in receipts, one per block, so no
process rewrites a shared file while others work. It contains no times, and no absolute paths except
those that the user typed.

`order` says which samples are in a block. A block is a range of positions, and position p is

    "source"      sample p of the source                    zarr, and everything in version 1
    "permuted"    sample permutation(seed, N)[p]            view shards, from version 2

View shards are permuted because they are streamed in the order in which they are stored, and most
sources are sorted by class: in the source's order a shuffle buffer of 2,048 samples spans 1.6
classes of ImageNet. The permutation sorts N raw Philox words, which NumPy guarantees across
versions (NEP 19), with the seed and the purpose "blocks" as the two words of the key.

Version 2 also stores the samples' keys (keys.py), and its receipts record the arithmetic
(block.py). Caches of version 1 can be read, verified and extended, and stay at version 1.

`statistics` says what the teacher's BatchNorm layers normalise with: "eval" is the running
statistics in the weights, "batch" those of fixed batches of `teacher_batch` samples
(teacher_batches.py). The JSON has these fields only for "batch"; a manifest without them means
"eval", and code that does not know the fields refuses a manifest that has them.

`augment` is the value of --augment (shared/pixels/augmentation.py). The JSON has this field only if
views are augmented.

`targets` and `added` are the kinds (shared/targets/kinds.py) that the cache keeps. `targets` are
stored in the blocks, beside box and flip: logits and channel means, or those of them that were
requested when the cache was created. The JSON has this field only if it is not both. Every kind in
`added` is a *layer* with its own files and receipts. A layer can be added at any time without
changing existing files, and its bytes do not depend on when it is added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.pixels.augmentation import parse_augmentation
from shared.pixels.view import CENTER, ViewPolicy
from shared.records.manifest_schema import HOLDS_PIXELS
from shared.records.permutation import inverse_permutation, permutation
from shared.targets.codecs import Form, Kept
from shared.targets.encoding import Encoding
from shared.targets.kinds import BASE

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SourceFacts:
    spec: str  # as typed
    samples: int
    digest: str  # of the listing: class names, keys, labels and sizes
    classes: tuple[str, ...]


@dataclass(frozen=True)
class TeacherFacts:
    architecture: str
    stem: str
    classes: int
    channels: tuple[int, ...]  # C_s of each stage
    weights: str  # as typed
    sha256: str  # of the weights
    head_sha256: str  # of the last layer alone; of no bytes if it is not one linear layer
    # The JSON has these only if they differ from what a ResNet has:
    embedding: int | None = None  # numbers of the embedding; None: it is the last stage's means
    linear: bool = True  # whether the logits are a linear function of the embedding
    signed: bool = False  # whether stages or embedding can be negative
    stage_modules: tuple[str, ...] | None = None  # None: fixed
    class_map: tuple[int, ...] | None = None  # the teacher's class for each class of the data
    rows: str = "exact"  # "near": batch-mates can change the last bits of a sample's targets

    @property
    def form(self) -> Form:
        return Form(self.embedding is None, self.linear, self.signed)

    @property
    def embedding_width(self) -> int:
        return self.channels[-1] if self.embedding is None else self.embedding


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
    # "eval" or "batch", see above. Listed before the block size, which depends on it, so that
    # `require_same` reports this difference first.
    statistics: str = field(default="eval", kw_only=True)
    teacher_batch: int | None = field(default=None, kw_only=True)  # samples; None with "eval"
    codec: str
    codec_version: int
    block: int  # samples
    versions: dict[str, str]
    # "half" if made from fp16 values, not by the teacher (precompute/convert.py); else None
    converted_from: str | None = None
    crop: float = CENTER  # share of the shorter side that a view of "resize-center" keeps
    targets: tuple[str, ...] = BASE  # kinds in the blocks: logits, channels or both
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # other kind -> its shape
    augment: str | None = None  # str(Augmentation): what is done to the pixels of a view

    @property
    def samples(self) -> int:
        return self.source.samples

    @property
    def holds_pixels(self) -> bool:
        """Whether the cache stores the views' pixels, as JPEGs."""
        return self.format in HOLDS_PIXELS

    @property
    def blocks(self) -> int:
        """The number of blocks in one view."""
        return -(-self.samples // self.block)

    @property
    def layers(self) -> tuple[str, ...]:
        """Everything with its own files and receipts: "" (the blocks) and the added kinds."""
        return ("", *sorted(self.added))

    @property
    def view_policy(self) -> ViewPolicy:
        how = None if self.augment is None else parse_augmentation(self.augment)
        return ViewPolicy(self.policy, self.interpolation, self.crop, how)

    @cached_property
    def encoding(self) -> Encoding:
        """How every kind in the cache is encoded."""
        shapes = {
            "logits": (self.teacher.classes,),
            "channels": (sum(self.teacher.channels),),
            **self.added,
        }
        names = (*self.targets, *self.layers[1:])
        kept = (Kept(name, tuple(shapes[name]), self.teacher.channels) for name in names)
        return Encoding(self.codec, tuple(kept), self.teacher.form)

    def kinds_of(self, layer: str) -> tuple[str, ...]:
        return (layer,) if layer else self.targets

    def layer_of(self, name: str) -> str:
        """The layer that stores a field; "" for box, flip and pred."""
        return next((kind for kind in self.added if name in self.encoding.fields([kind])), "")

    def layers_for(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """The layers needed to decode these kinds; "" is always the first."""
        fields = self.encoding.needed(kinds)
        return ("", *sorted({layer for name in fields if (layer := self.layer_of(name))}))

    def rows(self, block: int) -> range:
        """The positions in a block."""
        return range(block * self.block, min((block + 1) * self.block, self.samples))

    def samples_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples, as indices into the source, at the given positions."""
        if self.order == "source":
            return positions
        return permutation(self.seed, self.samples)[positions]

    def samples_of(self, block: int) -> NDArray[np.int64]:
        """(n,) samples in a block, in its order."""
        rows = self.rows(block)
        return self.samples_at(np.arange(rows.start, rows.stop))

    def place(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of samples: the inverse of `samples_at`. Position // block is the block."""
        if self.order == "source":
            return samples
        return inverse_permutation(self.seed, self.samples)[samples]

    def with_views(self, views: int) -> "Manifest":
        return replace(self, views=views)

    def with_added(self, more: Mapping[str, tuple[int, ...]]) -> "Manifest":
        return replace(self, added={**more, **self.added}) if more else self

    def as_version_of(self, there: "Manifest") -> "Manifest":
        """This manifest with the version and order of `there`, if that has an earlier version."""
        if there.format_version >= self.format_version:
            return self
        return replace(self, format_version=there.format_version, order=there.order)
