"""A block: a range of positions in one view (manifest.py), the unit of work, commit and resume.

A block is committed by its receipt (receipt.py). Its contents follow from the manifest, except for
the last bits of the teacher's outputs, which depend on the arithmetic (device, torch version, TF32,
batch size). The receipt records the arithmetic for this reason.

A kind of targets that is added to a cache later has its own blocks over the same samples: a layer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Work(NamedTuple):
    """A block of a view that must be made, or some layers of it."""

    view: int
    block: int
    layers: tuple[str, ...] = ("",)


Skipped = tuple[int, str, str]  # (sample index, key, reason): an image that is not usable


@dataclass(frozen=True)
class Arithmetic:
    """What the last bits of a teacher's outputs depend on, apart from its weights."""

    device: str  # "cpu", or the name of the GPU
    torch: str  # version
    matmul_tf32: bool  # whether float32 matrix products use TF32; on GPUs only
    cudnn_tf32: bool  # whether float32 convolutions use TF32; on GPUs only
    batch_size: int

    def __str__(self) -> str:
        tf32 = [
            name for name, on in (("matmul", self.matmul_tf32), ("cudnn", self.cudnn_tf32)) if on
        ]
        used = f"TF32 in {' and '.join(tf32)}" if tf32 else "no TF32"
        return f"{self.device}, torch {self.torch}, {used}, batches of {self.batch_size}"


@dataclass(frozen=True)
class Block:
    """The contents of one block: n rows. Rows of skipped samples are zeros, with pred -1.

    For a block of a layer only `fields` are stored, not box, flip, pred, label, images and keys.
    """

    view: int
    index: int
    fields: Mapping[str, NDArray[np.generic]]  # encoded targets, (n, ...) each
    box: NDArray[np.int32]  # (n, 4): top, left, height, width in source pixels
    flip: NDArray[np.bool_]  # (n,)
    pred: NDArray[np.int32]  # (n,): argmax of the live teacher, exact under every codec
    label: NDArray[np.int64]  # (n,)
    images: tuple[bytes, ...]  # n JPEGs of the views in view shards, else ()
    keys: tuple[str, ...]  # n keys of the samples in view shards of version 2, else ()
    pixels: Mapping[int, str]  # sample index -> sha256 of the view's uint8 pixels, for a few
    skipped: tuple[Skipped, ...]
    arithmetic: Arithmetic | None  # None in version 1, or if not made by a teacher
    layer: str = ""  # the kind, for a block of a layer
    # n times (label of the partner, weight of the sample's own label) in view shards of mixed
    # views (shared/pixels/mix.py), else ()
    mixed: tuple[tuple[int, float], ...] = ()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        if self.layer:
            return dict(self.fields)
        return {**self.fields, "box": self.box, "flip": self.flip, "pred": self.pred}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
