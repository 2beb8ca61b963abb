"""The receipt of a block: its commit marker, with the sizes and hashes of its files.

It is written after the block's files are safely on disk, so a file that merely exists proves
nothing and a damaged one is found. Receipts hold no times."""

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
    start: int  # positions start..stop, half-open
    stop: int
    keys: str  # sha256 of the samples' keys, in order
    files: dict[str, tuple[int, str]]  # path in the split -> (bytes, sha256)
    pixels: dict[int, str]
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
        """ValueError, one line, where `data` is not a receipt or was changed since."""
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
        """ValueError where what it says cannot be of its block, whose `files` are these paths."""
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
    return f"receipts/{block_name(view, block, layer)}.json"


def block_name(view: int, block: int, layer: str = "") -> str:
    """What the names of its receipt and of its shard begin with."""
    return f"v{view:04d}-b{block:06d}" + (f".{layer}" if layer else "")


def make_receipt(
    manifest: Manifest, block: Block, keys: str, files: Mapping[str, bytes]
) -> Receipt:
    """`keys`: the digest of its samples' keys; `files`: path in the split -> bytes."""
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
    """sha256 over one row of every field, fields in alphabetical order."""
    return sha256(b"".join(fields[name][row].tobytes() for name in sorted(fields)))
