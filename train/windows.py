"""Divides an epoch over replayed views into steps: of the whole view, or window by window.

If a view's targets fit into memory, the view is one window, and the epoch is a shuffle of all its
samples. Large targets (whole maps: 50 to 400 kB per sample) do not fit. A window is then as many
blocks as fit into MOST_BYTES: in every epoch blocks are assigned to windows at random, and samples
are shuffled within their window, so a batch mixes samples from a few blocks only. If the source is
sorted by class, this biases the batches; `class_share` measures how much. View shards do not have
this problem, because their blocks have samples from all over the source.

The order is a pure function of (seed, epoch, the cache's blocks, bytes per sample).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.records.manifest import Manifest
from train.order import epoch_order, random_words, smallest_share, split_batches

MOST_BYTES = 16 << 30  # for the targets of a window; two windows may be in memory at a time
_PURPOSE = "windows"


@dataclass(frozen=True)
class Window:
    blocks: tuple[int, ...] | None  # None: the whole view
    steps: Sequence[NDArray[np.int64]]  # the samples in each step, of all processes


class Windows:
    """How the epochs of a run are divided into windows and steps."""

    def __init__(
        self,
        manifest: Manifest | None,
        samples: NDArray[np.int64],
        row_bytes: int,
        batch_size: int,
        seed: int,
    ) -> None:
        """`samples`: indices of the usable samples; `row_bytes`: bytes of targets per sample."""
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._manifest = manifest
        self.count = 1
        if manifest is not None:
            a_block = manifest.block * row_bytes
            at_once = max(1, MOST_BYTES // max(1, a_block))
            self.count = -(-manifest.blocks // at_once)

    def of(self, epoch: int) -> list[Window]:
        order = epoch_order(self._samples, self._seed, epoch)
        if self.count == 1:
            return [Window(None, split_batches(order, self._batch_size))]
        assert self._manifest is not None
        words = random_words(self._manifest.blocks, self._seed, epoch, _PURPOSE)
        dealt = np.array_split(np.argsort(words, kind="stable"), self.count)
        block_of = order // self._manifest.block  # zarr keeps the order of the source
        return [
            Window(tuple(sorted(blocks.tolist())), split_batches(mine, self._batch_size))
            for blocks in dealt
            if len(mine := order[np.isin(block_of, blocks)])
        ]

    def first_blocks(self, epoch: int) -> tuple[int, ...] | None:
        """The blocks of the epoch's first window; None for the whole view."""
        return None if self.count == 1 else self.of(epoch)[0].blocks

    def steps(self, epoch: int) -> int:
        if self.count == 1:
            return max(1, -(-len(self._samples) // self._batch_size))
        return sum(len(window.steps) for window in self.of(epoch))

    def smallest_part(self, epoch: int, processes: int) -> int:
        """Samples in the smallest part of a step's batch that any process gets in an epoch."""
        if self.count == 1:
            return smallest_share(len(self._samples), self._batch_size, processes)
        return min(len(step) for window in self.of(epoch) for step in window.steps) // processes

    def class_share(self, labels: NDArray[np.int64]) -> float:
        """Mean share of the classes that occur in a window of epoch 0; 1 for a single window."""
        if self.count == 1:
            return 1.0
        classes = len(np.unique(labels[self._samples]))
        seen = [len(np.unique(labels[np.concatenate(w.steps)])) for w in self.of(0)]
        return float(np.mean(seen)) / classes
