"""How a cache keeps its targets: a codec is a table that says which array codec each kind has.

| codec | logits | channel means, embeddings and maps |
|---|---|---|
| exact | f32 | f32 |
| half | f16 below maximum | f16 |
| compact | derived from the embedding through the head | f16 |
| tiny | derived, likewise | u8 |

Bounds of the array codecs: arrays.py. A derived logit has the error of the embedding through the
head. A `tiny` made of `half` or `compact` (precompute/convert.py) carries their error of a number
besides its own. Logits are relative to their row's maximum in `half`; derived ones are head(stage-4
means), which is what they are in the teacher too; the head, kept once in the cache, costs nothing a
view. Probabilities are never stored: they underflow.

The embedding of a staged network is the last stage's channel means: where those are stored it is
read from them and takes no bytes.

Measured with `tests/bench/codecs.py --images FOLDER --size 32 --weights FILE`: 8,192 views of
CIFAR-10's JPEGs through a ResNet-34 trained on them for 6 epochs (70.5 % top-1; the script that
trained it, tests/bench/cifar.py, is in the history before 1969cca), with a head for 1000 classes
fitted so that its logits spread like those of ImageNet networks. Bytes a view of logits and
channels in a zarr cache, box and flip included (a packed record of a view shard is not compressed:
7,861, 3,941, 1,941 and 997); KL(teacher || decoded) in nats at T = 1; the error of the means
as a share of their variance.

| codec | bytes a view | KL | argmax flips | means | decoded views/s, one CPU |
|---|---:|---:|---:|---:|---:|
| exact | 6,573 | 0 | 0 | 0 | no work |
| half | 3,065 | 1.0e-7 | 0 | 2.7e-7 | 1,900,000 |
| compact | 1,507 | 5.0e-8 | 3 of 8,192 | 2.7e-7 | 270,000 |
| tiny | 841 | 1.4e-5 | 24 of 8,192 | 6.9e-5 | 190,000 |

An argmax flip changes no guided mask: the live teacher's argmax is stored beside.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from shared.errors import InputError
from shared.targets.arrays import ARRAYS, FLOAT_NOISE, ArrayCodec, Field
from shared.targets.kinds import kind_of
from shared.targets.targets import Head, Targets

Fields = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Codec:
    name: str
    version: int
    derives_logits: bool  # through the head kept in the cache


CODECS = {
    codec.name: codec
    for codec in (
        Codec("exact", 1, derives_logits=False),
        Codec("half", 1, derives_logits=False),
        Codec("compact", 1, derives_logits=True),
        Codec("tiny", 1, derives_logits=True),
    )
}


@dataclass(frozen=True)
class Kept:
    """A kind as one cache has it."""

    name: str
    shape: tuple[int, ...]  # a sample
    stages: tuple[int, ...]  # the C_s, of the kinds that are made of stages

    @property
    def parts(self) -> tuple[int, ...]:
        """Widths along the first axis; each part has its own scale, and its own line in verify."""
        return self.stages if kind_of(self.name).by_stage else self.shape[:1]


@dataclass(frozen=True)
class Encoding:
    """All kinds that a cache keeps, and how. Fields are named as they are on disk."""

    codec: str
    kinds: tuple[Kept, ...]

    @property
    def derives_logits(self) -> bool:
        return CODECS[self.codec].derives_logits and "logits" in self.names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(kept.name for kept in self.kinds)

    def offers(self, kind: str) -> bool:
        """Whether targets of this kind can be had from the fields."""
        return kind in self.names or (kind == "embedding" and "channels" in self.names)

    def fields(self, names: Iterable[str] | None = None) -> dict[str, Field]:
        """Field -> (NumPy dtype, shape a sample) of all kinds or those named, in stored order."""
        wanted = self.names if names is None else tuple(names)
        return {
            _field(kept.name, suffix): facts
            for kept in self.kinds
            if kept.name in wanted and (array := self._array(kept)) is not None
            for suffix, facts in array.fields(kept.shape, kept.parts).items()
        }

    def needed(self, needs: Iterable[str]) -> list[str]:
        """The fields that decoding these kinds takes. Names that are not kinds here take none."""
        wanted = set(needs)
        if self.derives_logits and "logits" in wanted:
            wanted.add("embedding")
        if "embedding" in wanted and "embedding" not in self.names:
            wanted.add("channels")
        return list(self.fields(wanted))

    def encode(self, targets: Targets, names: Iterable[str] | None = None) -> Fields:
        """All kinds or those named. InputError where the codec cannot hold what the teacher says.

        Of float32 (B, ...) each; the fields have B rows.
        """
        wanted = self.names if names is None else tuple(names)
        return {
            _field(kept.name, suffix): values
            for kept in self.kinds
            if kept.name in wanted and (array := self._array(kept)) is not None
            for suffix, values in array.encode(
                targets[kept.name], kept.parts, _spoken(kept.name)
            ).items()
        }

    def decode(self, fields: Mapping[str, Tensor], head: Head | None) -> dict[str, Tensor]:
        """Fields of B rows -> every kind that can be had from those given; (B, ...) float32."""
        found: dict[str, Tensor] = {}
        for kept in self.kinds:
            array = self._array(kept)
            if array is None or _field(kept.name, "") not in fields:
                continue
            suffixes = array.fields(kept.shape, kept.parts)
            own = {suffix: fields[_field(kept.name, suffix)] for suffix in suffixes}
            found[kept.name] = array.decode(own, kept.parts)
        if "embedding" not in found and "channels" in found:
            found["embedding"] = found["channels"][:, -self._stages()[-1] :]
        if self.derives_logits and head is not None and "embedding" in found:
            found["logits"] = linear(found["embedding"], head.weight, head.bias)
        return found

    def bound(self, targets: Targets, head: Head | None) -> dict[str, Tensor]:
        """Largest |decoded - true| of every number of every kind kept, logits taken relative to
        their row's maximum."""
        found: dict[str, Tensor] = {}
        for kept in self.kinds:
            if (array := self._array(kept)) is not None:
                found[kept.name] = array.bound(targets[kept.name], kept.parts)
        if self.derives_logits:
            found["logits"] = self._derived_bound(targets, found, head)
        return found

    def bound_of_converted(self, targets: Targets, head: Head | None) -> dict[str, Tensor]:
        """The same of `tiny` fields that were made of half's and not by the teacher.

        They are of numbers c' that differ from c by half's error e at most: they are held to the
        bound of c + e, and to e.
        """
        half = Encoding("half", self.kinds)
        found: dict[str, Tensor] = {}
        for kept in self.kinds:
            own, theirs = self._array(kept), half._array(kept)
            if own is not None and theirs is not None:
                true = targets[kept.name]
                error = theirs.bound(true, kept.parts)
                found[kept.name] = own.bound(true + error, kept.parts) + error
        if self.derives_logits:
            found["logits"] = self._derived_bound(targets, found, head)
        return found

    def part_names(self) -> list[str]:
        """What `parts_of` gives, in its order."""
        names = []
        for kept in self.kinds:
            if kind_of(kept.name).by_stage:
                names += [f"{kept.name}, stage {s + 1}" for s in range(len(kept.parts))]
            else:
                names.append(kept.name)
        return names

    def parts_of(self, targets: Targets) -> list[Tensor]:
        """(B, n) of every kind kept, and of every stage of those made of stages."""
        found: list[Tensor] = []
        for kept in self.kinds:
            values = targets[kept.name]
            if kind_of(kept.name).by_stage:
                found += values.split(list(kept.parts), dim=1)
            else:
                found.append(values.flatten(1))
        return found

    def meaning(self, field: str) -> str:
        """What a field holds, in words."""
        for kept in self.kinds:
            array = self._array(kept)
            if array is None:
                continue
            for suffix in array.fields(kept.shape, kept.parts):
                if field == _field(kept.name, suffix):
                    kind = kind_of(kept.name)
                    texts = array.meaning
                    if not kind.by_stage:
                        texts = getattr(array, "meaning_alone", texts)
                    return texts[suffix].format(
                        meaning=kind.meaning,
                        field=_field(kept.name, ""),
                        scale=_field(kept.name, "scale"),
                    )
        raise KeyError(field)

    def _array(self, kept: Kept) -> ArrayCodec | None:
        """None where it takes no bytes."""
        name = kind_of(kept.name).codecs.get(self.codec)
        return None if name is None else ARRAYS[name]

    def _stages(self) -> tuple[int, ...]:
        return next(kept.stages for kept in self.kinds if kept.name == "channels")

    def _derived_bound(self, targets: Targets, bounds: Targets, head: Head | None) -> Tensor:
        """The embedding's errors through the head, twice: that of a logit and of the maximum."""
        assert head is not None, "derived logits have no bound without the head"
        if "embedding" in bounds:
            embedding, errors = targets["embedding"], bounds["embedding"]
        else:
            width = self._stages()[-1]
            embedding, errors = targets["channels"][:, -width:], bounds["channels"][:, -width:]
        noise = embedding.abs() * FLOAT_NOISE
        error = linear(errors + noise, head.weight.abs(), head.bias.abs() * FLOAT_NOISE)
        return error + error.amax(dim=1, keepdim=True)


def require_derivable(codec: str, names: Iterable[str]) -> None:
    """InputError where a codec would derive logits from what is not kept."""
    kept = set(names)
    if CODECS[codec].derives_logits and "logits" in kept and not kept & {"channels", "embedding"}:
        raise InputError(
            f"--codec {codec} derives the logits from the channel means or the embedding: "
            f"--targets {','.join(names)} keeps neither; add channels, or use --codec half"
        )


def num_bytes(fields: Mapping[str, Field]) -> int:
    """Of one row of such fields, not compressed."""
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in fields.values())


def _field(kind: str, suffix: str) -> str:
    """On disk. The scale of channel means has had its name since it was the only one."""
    if not suffix:
        return kind
    return suffix if kind == "channels" else f"{kind}_{suffix}"


def _spoken(kind: str) -> str:
    return "channel means" if kind == "channels" else kind
