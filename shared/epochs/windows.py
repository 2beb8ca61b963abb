"""The plan of an epoch over replayed views: the order of reading, and the steps.

If a view's targets fit into memory, they are all read before the first step, and the epoch is a
shuffle of all samples. Large targets (whole maps: 50 to 400 kB per sample) or many samples do not
fit into MOST_BYTES. They are then read in *pieces*, runs of a block's rows, of which thousands fit.
In every epoch pieces are read in a random order, and samples are shuffled within a window that
slides along this order (sliding.py). A sample is in memory from the time when its piece is read
until it has been used, and at most MOST_BYTES are in memory. As every batch has samples from
thousands of pieces, it is nearly as mixed as that of a full shuffle, even if the source is sorted
by class (class_mix.py; measured by tests/bench/scale_windows.py).

A plan is a pure function of (seed, epoch, usable samples, batch size, the cache's blocks and
fields). It does not depend on the number of processes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.epochs.order import epoch_order, smallest_share, split_batches
from shared.epochs.reading_order import Piece, piece_rows, reading_order
from shared.epochs.sliding import sliding_order
from shared.records.manifest import Manifest
from shared.store.view_memory import WINDOW, fits_whole
from shared.targets.codecs import num_bytes

__all__ = ["EpochPlan", "Epochs", "Piece"]

MOST_BYTES = WINDOW  # of targets in the memory of a machine; a view that has more is not kept
MOST_PIECES = 8192  # that fit into MOST_BYTES: pieces have at least 2 MiB


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch reads, and when it uses it: the same in every process."""

    pieces: Sequence[Piece]  # in the order in which they are read; none without a cache
    steps: Sequence[NDArray[np.int64]]  # the samples in each step, of all processes
    ready: NDArray[np.int64]  # (steps,) the pieces [:ready[i]] must have been read before step i
    begin: NDArray[np.int64]  # (steps,) no step from i on needs the pieces [:begin[i]]
    capacity: int  # most samples that are resident (read, and needed by a step that is not over)

    def still_needed(self, step: int) -> NDArray[np.int64]:
        """The samples of the steps from `step` on: a run resumed there needs no others."""
        return np.concatenate([np.empty(0, np.int64), *self.steps[step:]])


class Epochs:
    """The plans of a run's epochs."""

    def __init__(
        self,
        manifest: Manifest | None,
        samples: NDArray[np.int64],
        fields: Sequence[str],
        batch_size: int,
        seed: int,
    ) -> None:
        """`samples`: sorted indices of the usable samples; `fields`: of the targets that are read.

        `manifest` is that of a zarr cache. Without a cache it is None, and a plan has no pieces.
        """
        self._manifest = manifest
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self.capacity = len(samples)
        self.piece_rows: int | None = None  # None: a view fits into memory
        if manifest is not None and len(samples):
            row_bytes = num_bytes({name: manifest.encoding.fields()[name] for name in fields})
            if not fits_whole(manifest.blocks, manifest.block * row_bytes, MOST_BYTES):
                self.piece_rows = piece_rows(manifest, fields, MOST_BYTES // MOST_PIECES)
                self.capacity = max(MOST_BYTES // row_bytes, batch_size + self.piece_rows)
                self.capacity = min(self.capacity, len(samples))

    @property
    def layout(self) -> list[int]:
        """What the order of an epoch depends on besides (seed, epoch); see feed.py."""
        return [] if self.piece_rows is None else [self.capacity, self.piece_rows]

    def plan(self, epoch: int) -> EpochPlan:
        if self.piece_rows is not None:
            return self._sliding_plan(epoch)
        steps = split_batches(epoch_order(self._samples, self._seed, epoch), self._batch_size)
        pieces: list[Piece] = []
        if self._manifest is not None:
            rows = map(self._manifest.rows, range(self._manifest.blocks))
            pieces = [Piece(block, range(len(found))) for block, found in enumerate(rows)]
        return EpochPlan(
            pieces,
            steps,
            ready=np.full(len(steps), len(pieces), np.int64),
            begin=np.zeros(len(steps), np.int64),
            capacity=self.capacity,
        )

    def _sliding_plan(self, epoch: int) -> EpochPlan:
        assert self._manifest is not None and self.piece_rows is not None
        pieces, stops, samples = reading_order(
            self._manifest, self._samples, self.piece_rows, self.capacity, self._seed, epoch
        )
        batches = split_batches(np.arange(len(samples)), self._batch_size)
        starts = np.array([batch[0] for batch in batches])
        # Keys are random, so the number of resident samples varies by about sqrt(reach / 3).
        spare = min(3 * math.isqrt(self.capacity), self.capacity // 4)
        most = self.capacity - self._batch_size - self.piece_rows - spare
        reach = max(0, min(most, len(samples) - 1))
        while True:
            order = sliding_order(len(samples), reach, self._seed, epoch)
            last = np.maximum.accumulate(np.maximum.reduceat(order, starts))
            ready = np.searchsorted(stops, last, side="right") + 1
            excess = int((stops[ready - 1] - starts).max()) - self.capacity
            if excess <= 0:
                break
            assert reach > 0, "a batch and a piece fit into the window"
            reach = max(0, reach - excess)
        first = np.minimum.accumulate(np.minimum.reduceat(order, starts)[::-1])[::-1]
        begin = np.searchsorted(stops, first, side="right")
        steps = split_batches(samples[order], self._batch_size)
        return EpochPlan(pieces, steps, ready, begin, self.capacity)

    def steps(self, epoch: int) -> int:
        return max(1, -(-len(self._samples) // self._batch_size))

    def smallest_part(self, epoch: int, processes: int) -> int:
        """Samples in the smallest part of a step's batch that any process gets in an epoch."""
        return smallest_share(len(self._samples), self._batch_size, processes)
