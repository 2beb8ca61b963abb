"""Rows of blocks: joins blocks that were made to measure, and takes parts of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.records.block import Block
from shared.records.manifest import Manifest


def alone(manifest: Manifest, rows: Block) -> Manifest:
    """The manifest of a source that has these rows only, which are its block 0 in view 0."""
    return replace(manifest, source=replace(manifest.source, samples=len(rows.pred)))


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks of one layer as one, without the rows of images that do not decode."""

    def arrays(get: Callable[[Block], Any]) -> Any:
        return np.concatenate([get(block) for block in blocks])

    def tuples(get: Callable[[Block], tuple[Any, ...]]) -> tuple[Any, ...]:
        return tuple(item for block in blocks for item in get(block))

    whole = replace(
        blocks[0],
        view=0,
        index=0,
        fields={name: arrays(lambda b, n=name: b.fields[n]) for name in blocks[0].fields},  # type: ignore[misc]
        box=arrays(lambda block: block.box),
        flip=arrays(lambda block: block.flip),
        pred=arrays(lambda block: block.pred),
        label=arrays(lambda block: block.label),
        images=tuples(lambda block: block.images),
        keys=tuples(lambda block: block.keys),
        mixed=tuples(lambda block: block.mixed),
        skipped=(),
    )
    return taken(whole, np.flatnonzero(whole.pred >= 0))


def taken(rows: Block, index: NDArray[np.int64]) -> Block:
    """The given rows of a block."""

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[i] for i in index.tolist()) if values else ()

    return replace(
        rows,
        fields={name: values[index] for name, values in rows.fields.items()},
        box=rows.box[index],
        flip=rows.flip[index],
        pred=rows.pred[index],
        label=rows.label[index],
        images=of(rows.images),
        keys=of(rows.keys),
        mixed=of(rows.mixed),
    )
