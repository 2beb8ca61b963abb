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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from shared.records.manifest_schema import (
    HOLDS_PIXELS,
)
from shared.records.permutation import inverse_permutation, permutation
from shared.targets.codecs import Kept
from shared.targets.encoding import Encoding
from shared.targets.kinds import BASE

MANIFEST = "manifest.json"


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

    def with_views(self, views: int) -> "Manifest":
        return replace(self, views=views)

    def with_added(self, more: Mapping[str, tuple[int, ...]]) -> "Manifest":
        return replace(self, added={**more, **self.added}) if more else self

    def as_version_of(self, there: "Manifest") -> "Manifest":
        """This run's facts for a cache that an earlier version began: its version and order."""
        if there.format_version >= self.format_version:
            return self
        return replace(self, format_version=there.format_version, order=there.order)
