"""What an epoch is made of: (pixels, Batch) pairs on the device, one an optimizer step.

    Replayed   boxes of a zarr cache (or drawn views, without a cache) on the source's images;
               targets from the cache, from a live teacher, or none
    Streamed   view shards: pixels, labels and targets from one sequential stream

Both give every sample once an epoch. Replayed: in an order that depends on nothing but seed and
epoch, each step's batch cut into one part a process. Streamed: each process and worker has shards
of its own, so that the order depends on their number too.
"""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from shared.distributed import World
from train.batch import Batch
from train.pieces import require_pieces
from train.replayed import Replayed
from train.setup import Setup
from train.streamed import Streamed


class Input(Protocol):
    def steps(self, epoch: int) -> int: ...

    def smallest_part(self, epoch: int) -> int:
        """Samples of the smallest batch that any process gets in any step of an epoch."""
        ...

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        """(B, 3, S, S) uint8 pixels and their Batch, on the device, from step `first` on."""
        ...

    layout: list[int]  # what else than (seed, epoch) the order of an epoch depends on

    val_world: World  # whose processes' val_batches together are the val split

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, 3, S, S) uint8 pixels and (B,) labels of the val split, on the CPU."""
        ...

    def close(self) -> None: ...


def open_input(setup: Setup) -> Input:
    """InputError where its steps cannot be cut as the flags ask for."""
    shards = setup.targets.cache is not None and setup.targets.cache.manifest.holds_pixels
    feed: Input = Streamed(setup) if shards else Replayed(setup)
    require_pieces(
        feed.smallest_part,
        range(setup.recipe.epochs),
        setup.accumulate,
        setup.world.size,
        setup.student.backbone.stride,
        setup.images.size,
    )
    return feed
