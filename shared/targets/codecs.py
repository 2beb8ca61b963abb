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

import numpy as np

from shared.errors import InputError
from shared.targets.arrays import Field
from shared.targets.kinds import kind_of


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
