"""The receipt of a block: its commit marker, with the sizes and hashes of its files.

A receipt is written when the block's files are safely on disk. A block without one is not finished,
and the hashes reveal damaged files. Receipts contain no times.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from shared.files import schema
from shared.files.sealed import seal, unseal
from shared.records.block import Arithmetic, Block, Skipped, sha256
from shared.records.manifest import Manifest


@dataclass(frozen=True)
class Receipt:
    view: int
    block: int
    start: int  # the block's positions start..stop, half-open
    stop: int
    keys: str  # sha256 of the samples' keys, in order
    files: dict[str, tuple[int, str]]  # path in the split -> (bytes, sha256)
    pixels: dict[int, str]  # sample index -> sha256 of the view's pixels, for a few samples
    targets: dict[int, str]  # sample index -> sha256 of its row of fields, for the same samples
    skipped: tuple[Skipped, ...]
    arithmetic: Arithmetic | None
    layer: str = ""

    @property
    def skipped_samples(self) -> frozenset[int]:
        return frozenset(index for index, _, _ in self.skipped)

    def to_json(self) -> bytes:
        facts = asdict(self)
        if self.arithmetic is None:
            del facts["arithmetic"]
        if not self.layer:
            del facts["layer"]
        return seal(facts)

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt":
        """Raises ValueError, with one line, if `data` is not a receipt or was changed."""
        facts = unseal(data)
        _RECEIPT(facts, "")
        arithmetic = facts.get("arithmetic")
        return cls(
            view=facts["view"],
            block=facts["block"],
            start=facts["start"],
            stop=facts["stop"],
            keys=facts["keys"],
            files={path: (size, sha) for path, (size, sha) in facts["files"].items()},
            pixels={int(index): sha for index, sha in facts["pixels"].items()},
            targets={int(index): sha for index, sha in facts["targets"].items()},
            skipped=tuple((index, key, reason) for index, key, reason in facts["skipped"]),
            arithmetic=arithmetic and Arithmetic(**arithmetic),
            layer=facts.get("layer", ""),
        )

    def require_fit(self, manifest: Manifest, files: Collection[str]) -> None:
        """Raises ValueError if it does not fit its block, which consists of `files` (paths)."""
        if set(self.files) != set(files):
            strange = sorted(set(self.files) ^ set(files))[0]
            raise ValueError(f"its files are not those of its block: {strange!r}")
        samples = [*self.pixels, *self.targets, *(index for index, _, _ in self.skipped)]
        if max(samples, default=0) >= manifest.samples:
            raise ValueError(f"sample {max(samples)} is not one of {manifest.samples}")
        positions = manifest.place(np.array(samples, dtype=np.int64))
        outside = (positions < self.start) | (positions >= self.stop)
        if outside.any():
            raise ValueError(f"sample {samples[int(outside.argmax())]} is not in its block")
        if self.pixels.keys() != self.targets.keys():
            raise ValueError("its checksums of pixels and of targets are of different samples")
        if len(self.skipped_samples) < len(self.skipped) or self.skipped_samples & set(self.pixels):
            raise ValueError("a sample is in it twice")


_RECEIPT = schema.record(
    {
        "view": schema.integer(0, 10**9),
        "block": schema.integer(0, 10**9),
        "start": schema.integer(0, 10**9),
        "stop": schema.integer(0, 10**9),
        "keys": schema.sha256,
        "files": schema.mapping(
            schema.text, schema.in_turn(schema.integer(0, 2**63 - 1), schema.sha256)
        ),
        "pixels": schema.mapping(schema.decimal, schema.sha256),
        "targets": schema.mapping(schema.decimal, schema.sha256),
        "skipped": schema.many(
            schema.in_turn(schema.integer(0, 10**9), schema.text, schema.text), 0, 10**9
        ),
    },
    optional={
        "layer": schema.text,
        "arithmetic": schema.record(
            {
                "device": schema.text,
                "torch": schema.text,
                "matmul_tf32": schema.boolean,
                "cudnn_tf32": schema.boolean,
                "batch_size": schema.integer(1, 10**9),
            }
        ),
    },
)


def receipt_path(view: int, block: int, layer: str = "") -> str:
    return f"receipts/{receipt_name(view, block, layer)}"


def receipt_name(view: int, block: int, layer: str = "") -> str:
    return f"{block_name(view, block, layer)}.json"


def block_name(view: int, block: int, layer: str = "") -> str:
    """The name that a block's receipt and shard share, without extension."""
    return f"v{view:04d}-b{block:06d}" + (f".{layer}" if layer else "")


def make_receipt(
    manifest: Manifest, block: Block, keys: str, files: Mapping[str, bytes]
) -> Receipt:
    """The receipt of `block`. `keys`: digest of its samples' keys; `files`: path -> bytes."""
    rows = manifest.rows(block.index)
    places = manifest.place(np.array(list(block.pixels), dtype=np.int64)) - rows.start
    return Receipt(
        view=block.view,
        block=block.index,
        start=rows.start,
        stop=rows.stop,
        keys=keys,
        files={path: (len(data), sha256(data)) for path, data in files.items()},
        pixels=dict(block.pixels),
        targets={
            index: row_digest(block.fields, row)
            for index, row in zip(block.pixels, places.tolist(), strict=True)
        },
        skipped=block.skipped,
        arithmetic=block.arithmetic if manifest.format_version > 1 else None,
        layer=block.layer,
    )


def row_digest(fields: Mapping[str, NDArray[np.generic]], row: int) -> str:
    """sha256 of one row of every field, with the fields in alphabetical order."""
    return sha256(b"".join(fields[name][row].tobytes() for name in sorted(fields)))
