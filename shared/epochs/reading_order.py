"""The pieces that the targets of an epoch are read in, and their order.

A piece is a run of rows of a block, made of whole inner chunks of its shards, so that no chunk is
decoded twice. The order of the pieces is a pure function of (seed, epoch) and of the pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.epochs.order import random_words
from shared.formats.zarr_arrays import layouts
from shared.records.manifest import Manifest
from shared.targets.codecs import num_bytes

MOST_WASTE = 0.25  # bytes that are decoded without being used, as a share of those that are
_PURPOSE = "pieces"


@dataclass(frozen=True)
class Piece:
    block: int
    rows: range  # of the block


def piece_rows(manifest: Manifest, fields: Sequence[str], least_bytes: int) -> int:
    """The rows of a piece: whole chunks of the fields, of at least `least_bytes`.

    Chunks of large fields have fewer samples than those of small ones. Chunks of both are decoded
    whole, so pieces are made larger until MOST_WASTE holds.
    """
    a_row = {name: num_bytes({name: manifest.encoding.fields()[name]}) for name in fields}
    chunks = {name: layout.chunk for name, layout in layouts(manifest, fields).items()}
    rows = min(chunks.values())
    while rows < manifest.block:
        used = rows * sum(a_row.values())
        decoded = sum(max(rows, chunks[name]) * a_row[name] for name in fields)
        if used >= least_bytes and decoded <= (1 + MOST_WASTE) * used:
            break
        rows *= 2
    return min(rows, manifest.block)


def reading_order(
    manifest: Manifest,
    samples: NDArray[np.int64],
    rows: int,
    capacity: int,
    seed: int,
    epoch: int,
) -> tuple[list[Piece], NDArray[np.int64], NDArray[np.int64]]:
    """The order in which an epoch reads its pieces of `rows` rows, and `samples` in that order.

    `samples` are sorted; `capacity` of them are in memory at a time. Returns the pieces, where each
    of them ends among the samples in this order, and the samples. Pieces without any are left out.
    """
    assert manifest.order == "source", "row r of block b is sample b * block + r"
    block = manifest.block
    blocks = np.arange(0, manifest.blocks * block, block)
    starts = (blocks[:, None] + np.arange(0, block, rows)).ravel()
    stops = np.minimum(starts + rows, np.minimum(starts // block * block + block, manifest.samples))
    first, last = np.searchsorted(samples, starts), np.searchsorted(samples, stops)
    used = np.flatnonzero(last > first)
    rounds = -(-len(used) * rows // capacity)
    read = used[spread_order(len(used), rounds, seed, epoch)]
    sizes = (last - first)[read]
    ends = np.cumsum(sizes)
    places = np.repeat(first[read] - (ends - sizes), sizes)
    places += np.arange(len(samples))
    pieces = [
        Piece(start // block, range(start % block, start % block + stop - start))
        for start, stop in zip(starts[read].tolist(), stops[read].tolist(), strict=True)
    ]
    return pieces, ends, samples[places]


def spread_order(count: int, rounds: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """(count,) pieces in a random order of `rounds` parts, each with pieces from everywhere.

    Of any `rounds` consecutive pieces, each part has one. If pieces were read in just any order,
    there would be parts with many pieces of a class and parts with few: of a class with 5 pieces in
    memory on average, the number would vary by 2.
    """
    groups = -(-count // rounds)
    words = random_words(2 * groups * rounds, seed, epoch, _PURPOSE).reshape(2, -1)
    dealt = np.argsort(words[0].reshape(groups, rounds), axis=1, kind="stable")
    parts = (dealt + np.arange(0, groups * rounds, rounds)[:, None]).T
    mixed = np.argsort(words[1].reshape(rounds, groups), axis=1, kind="stable")
    order: NDArray[np.int64] = np.take_along_axis(parts, mixed, axis=1).ravel()
    return order[order < count]
