"""The batches of a run's epochs: (pixels, EpochBatch) pairs on the device, one per optimizer step.

    Replayed   boxes of a zarr cache (or drawn views, without a cache) on the source's images;
               targets from the cache, from a live teacher, or none
    Streamed   view shards: pixels, labels and targets in one sequential stream

Both yield every sample once per epoch. In Replayed the order depends on seed and epoch only (with
windows also on the cache, see windows.py), and each step's batch is cut into one part per process.
In Streamed each process and worker has its own shards, so the order also depends on their number.
"""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from shared.distributed import World
from shared.epochs.batch import EpochBatch
from shared.epochs.options import FeedOptions
from shared.epochs.replayed import Replayed
from shared.epochs.streamed import Streamed
from shared.epochs.val_batches import Labelled


class Feed(Protocol):
    def steps(self, epoch: int) -> int: ...

    def smallest_part(self, epoch: int) -> int:
        """Samples in the smallest batch that any process gets in any step of an epoch."""
        ...

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, EpochBatch]]:
        """(B, 3, S, S) uint8 pixels and their batch on the device, starting at step `first`."""
        ...

    layout: list[int]  # what the order of an epoch depends on besides (seed, epoch)

    val_world: World  # the val_batches of its processes together are the val split

    val_rows: int  # samples in the largest val batch of this process

    def val_batches(self) -> Iterator[Labelled]: ...

    def close(self) -> None: ...


def open_feed(options: FeedOptions) -> Feed:
    shards = options.cache is not None and options.cache.manifest.holds_pixels
    return Streamed(options) if shards else Replayed(options)
