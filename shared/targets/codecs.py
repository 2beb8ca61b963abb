"""The codecs of a cache. A codec names the array codec (arrays.py) of each kind of targets.

| codec | logits | channel means, embeddings and maps |
|---|---|---|
| exact | f32 | f32 |
| half | f16 below maximum | f16 |
| compact | derived from the embedding | f16 |
| tiny | derived from the embedding | u8, or s8 where they can be negative |

`half` stores logits relative to their row's maximum. Derived logits are head(embedding), as in the
teacher; the head is stored once per cache, so they take no bytes per view. Probabilities are never
stored because they underflow.

The embedding of a staged network is the last stage's channel means. If those are stored, it is read
from them and takes no bytes.

arrays.py gives the error bounds of the array codecs. The error of a derived logit is the error of
the embedding, passed through the head. In a `tiny` cache converted from `half` or `compact`
(precompute/convert.py) their error adds to its own.

Measured with `tests/bench/codecs.py --images FOLDER --size 32 --weights FILE`: 8,192 views of
CIFAR-10's JPEGs through a ResNet-34 trained on them for 6 epochs (70.5 % top-1; the script that
trained it, tests/bench/cifar.py, is in the history before 1969cca), with a head for 1000 classes
fitted so that its logits spread like those of ImageNet networks. Bytes per view are those of logits
and channels in a zarr cache, with box and flip. (A packed record in a view shard is not compressed:
7,861, 3,941, 1,941 and 997 bytes.) KL is KL(teacher || decoded) in nats at T = 1. The error of the
means is relative to their variance.

| codec | bytes a view | KL | argmax flips | means | decoded views/s, one CPU |
|---|---:|---:|---:|---:|---:|
| exact | 6,573 | 0 | 0 | 0 | no work |
| half | 3,065 | 1.0e-7 | 0 | 2.7e-7 | 1,900,000 |
| compact | 1,507 | 5.0e-8 | 3 of 8,192 | 2.7e-7 | 270,000 |
| tiny | 841 | 1.4e-5 | 24 of 8,192 | 6.9e-5 | 190,000 |

Argmax flips do not change the guided mask, because the live teacher's argmax is stored as well.
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
    derives_logits: bool  # from the embedding, through the head in the cache


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
    """A kind of targets with its shape in one cache."""

    name: str
    shape: tuple[int, ...]  # per sample
    stages: tuple[int, ...]  # C_s per stage; used by kinds that concatenate stages

    @property
    def parts(self) -> tuple[int, ...]:
        """Widths along the first axis. Each part has its own scale, and its own line in verify."""
        return self.stages if kind_of(self.name).by_stage else self.shape[:1]


@dataclass(frozen=True)
class Form:
    """What an encoding must know of the teacher's network. The defaults are those of a ResNet."""

    pooled: bool = True  # the embedding is the mean of the last stage's output
    is_linear: bool = True  # the logits are a linear function of the embedding
    signed: bool = False  # stages or embedding can be negative


RESNET = Form()


def require_derivable(codec: str, names: Iterable[str], form: Form = RESNET) -> None:
    """Raises InputError if the codec would derive logits from kinds that are not in `names`."""
    kept = set(names)
    source = {"channels", "embedding"} if form.pooled else {"embedding"}
    derives = CODECS[codec].derives_logits and form.is_linear
    if derives and "logits" in kept and not kept & source:
        raise InputError(
            f"--codec {codec} derives the logits from the channel means or the embedding: "
            f"--targets {','.join(names)} keeps neither; add channels, or use --codec half"
        )


def num_bytes(fields: Mapping[str, Field]) -> int:
    """Uncompressed bytes of one row of these fields."""
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in fields.values())
