"""A block: a run of positions of one view (manifest.py). The unit of work, commit and resume.

Its receipt is the commit marker. It is written after the block's files are safely on disk and
holds their sizes and hashes, so a file that merely exists proves nothing and a damaged one is
found. Receipts hold no times. What a block says follows from the manifest, but for the last bits of
the teacher's outputs, which depend on the arithmetic that made them; so the receipt names that.

A kind of targets that was added to a cache has blocks of its own over the same samples: its layer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Work(NamedTuple):
    """A block of a view that is to be made: all of it, or some of its layers."""

    view: int
    block: int
    layers: tuple[str, ...] = ("",)


Skipped = tuple[int, str, str]  # (sample index, key, reason) of an image that does not decode


@dataclass(frozen=True)
class Arithmetic:
    """What the last bits of a teacher's outputs depend on, besides its weights."""

    device: str  # "cpu", or the name of the GPU
    torch: str  # version
    matmul_tf32: bool  # products of float32 matrices in TF32; only ever on a GPU
    cudnn_tf32: bool  # convolutions, likewise
    batch_size: int

    def __str__(self) -> str:
        tf32 = [
            name for name, on in (("matmul", self.matmul_tf32), ("cudnn", self.cudnn_tf32)) if on
        ]
        used = f"TF32 in {' and '.join(tf32)}" if tf32 else "no TF32"
        return f"{self.device}, torch {self.torch}, {used}, batches of {self.batch_size}"


@dataclass(frozen=True)
class Block:
    """What one block holds, n rows. Those of skipped samples are zeros, with pred -1.

    That of a layer is written without box, flip, pred, label, images and keys.
    """

    view: int
    index: int
    fields: Mapping[str, NDArray[np.generic]]  # the codec's, (n, ...) each
    box: NDArray[np.int32]  # (n, 4): top, left, height, width in source pixels
    flip: NDArray[np.bool_]  # (n,)
    pred: NDArray[np.int32]  # (n,): argmax of the live teacher, exact under every codec
    label: NDArray[np.int64]  # (n,)
    images: tuple[bytes, ...]  # n JPEGs of the views in the format webdataset, else ()
    keys: tuple[str, ...]  # n, of the samples, in view shards of version 2, else ()
    pixels: Mapping[int, str]  # sample index -> sha256 of the view's uint8 pixels, a few of them
    skipped: tuple[Skipped, ...]
    arithmetic: Arithmetic | None  # None: of version 1, or made by no teacher
    layer: str = ""  # the kind, of a layer

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        if self.layer:
            return dict(self.fields)
        return {**self.fields, "box": self.box, "flip": self.flip, "pred": self.pred}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
