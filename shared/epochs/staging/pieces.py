"""A piece of a view: what is read of it, and where that goes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.epochs.reading_order import Piece
from shared.epochs.staging.schedule import Part
from shared.store.opening import Arrays, Cache


@dataclass(frozen=True)
class Task:
    part: Part
    number: int  # of the piece
    piece: Piece
    samples: slice
    here: NDArray[np.bool_]  # (n,) those whose rows this machine holds
    slots: NDArray[np.int64]  # one for each of these


def samples_of(piece: Piece, block: int) -> slice:
    """The samples of a piece; a cache of arrays keeps the order of the source."""
    start = piece.block * block
    return slice(start + piece.rows.start, start + piece.rows.stop)


def as_slice(slots: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Ascending slots; as a slice if none is left out, which is written faster."""
    if len(slots) and slots[-1] - slots[0] + 1 == len(slots):
        return slice(int(slots[0]), int(slots[-1]) + 1)
    return slots


def read_piece(cache: Cache, view: int, piece: Piece, names: list[str], into: Arrays) -> Arrays:
    return cache.read_rows(view, piece.block, piece.rows, names, into)
