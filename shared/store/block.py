"""A block: a contiguous run of samples of one view. The unit of work, commit and resume.

Its receipt is the commit marker. It is written after the block's files are safely on disk and
holds their sizes and hashes, so a file that merely exists proves nothing and a damaged one is
found. Receipts hold no times: a cache is a pure function of what its manifest says.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from shared.store.sealed import seal, unseal


@dataclass(frozen=True)
class Block:
    """What one block holds, n rows. Those of skipped samples are zeros, with pred -1."""

    view: int
    index: int
    fields: Mapping[str, NDArray[np.generic]]  # the codec's, (n, width) each
    box: NDArray[np.int32]  # (n, 4): top, left, height, width in source pixels
    flip: NDArray[np.bool_]  # (n,)
    pred: NDArray[np.int32]  # (n,): argmax of the live teacher, exact under every codec
    label: NDArray[np.int64]  # (n,)
    images: tuple[bytes, ...]  # n JPEGs of the views in the format webdataset, else ()
    pixels: Mapping[int, str]  # sample index -> sha256 of the view's uint8 pixels, a few of them
    skipped: tuple[tuple[int, str, str], ...]  # (sample index, key, reason)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.fields, "box": self.box, "flip": self.flip, "pred": self.pred}


@dataclass(frozen=True)
class Receipt:
    view: int
    block: int
    start: int
    stop: int
    keys: str  # sha256 of the samples' keys, in order
    files: dict[str, tuple[int, str]]  # path in the split -> (bytes, sha256)
    pixels: dict[int, str]
    targets: dict[int, str]  # sample index -> sha256 of its row of fields, for the same samples
    skipped: tuple[tuple[int, str, str], ...]

    def to_json(self) -> bytes:
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt":
        """ValueError, KeyError or TypeError where `data` is no receipt or was changed since."""
        facts = unseal(data)
        return cls(
            view=facts["view"],
            block=facts["block"],
            start=facts["start"],
            stop=facts["stop"],
            keys=facts["keys"],
            files={path: (size, sha) for path, (size, sha) in facts["files"].items()},
            pixels={int(row): sha for row, sha in facts["pixels"].items()},
            targets={int(row): sha for row, sha in facts["targets"].items()},
            skipped=tuple((row, key, reason) for row, key, reason in facts["skipped"]),
        )


def receipt_path(view: int, block: int) -> str:
    return f"receipts/v{view:04d}-b{block:06d}.json"


def make_receipt(block: Block, rows: range, keys: str, files: Mapping[str, bytes]) -> Receipt:
    return Receipt(
        view=block.view,
        block=block.index,
        start=rows.start,
        stop=rows.stop,
        keys=keys,
        files={path: (len(data), sha256(data)) for path, data in files.items()},
        pixels=dict(block.pixels),
        targets={row: row_digest(block.fields, row - rows.start) for row in block.pixels},
        skipped=block.skipped,
    )


def row_digest(fields: Mapping[str, NDArray[np.generic]], row: int) -> str:
    """sha256 over one row of every field, fields in alphabetical order."""
    return sha256(b"".join(fields[name][row].tobytes() for name in sorted(fields)))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
