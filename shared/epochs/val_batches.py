"""The val split in batches, from images or from view shards.

Shapes: B samples in a batch, images of S x S pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared.choices import VAL_POLICY
from shared.distributed import World
from shared.epochs.options import FeedOptions
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.shard_loader import ShardLoader
from shared.pixels.view import ViewPolicy
from shared.store.opening import Cache


class Labelled(NamedTuple):
    """A batch of the val split on the CPU."""

    pixels: Tensor  # (B, 3, S, S) uint8, channels last
    labels: Tensor  # (B,) int64; -1: the image does not decode


def image_batches(
    loader: PixelLoader,
    position: int,
    source: ImageSource,
    batch_size: int,
    world: World | None = None,
    policy: ViewPolicy | str = VAL_POLICY,
) -> Iterator[Labelled]:
    """The centre views of `source`, number `position` of the loader's sources.

    Batches are in order; with several processes in `world` each gets a share of them. `policy` must
    have one view per image; the default gives the pixels of torchvision's evaluation transform. An
    image that does not decode has label -1 and so counts as wrong.
    """
    labels = torch.from_numpy(source.labels)

    def requests() -> Iterator[Request]:
        for start in batch_starts(len(source), batch_size, world or World()):
            index = np.arange(start, min(start + batch_size, len(source)))
            yield Request(position, index, Draw(policy, seed=0, number=0))

    for batch in loader.batches(requests()):
        answers = labels[batch.index]
        for row, _ in batch.bad:
            answers[row] = -1
        yield Labelled(batch.pixels, answers)


def batch_starts(samples: int, batch_size: int, world: World) -> range:
    """Where the batches of this process begin."""
    return range(world.rank * batch_size, samples, world.size * batch_size)


def shard_batches(loader: ShardLoader) -> Iterator[Labelled]:
    """A cached val split with view shards."""
    for batch in loader.batches(epoch=0):
        yield Labelled(batch.pixels, batch.label)


def pixel_loader(options: FeedOptions, *sources: ImageSource) -> PixelLoader:
    """A loader for the splits of a run, in the order of `sources`."""
    return PixelLoader(
        sources, options.size, options.workers, pin_memory=options.device.type == "cuda"
    )


class ValFeed:
    """A val split with loader workers of its own."""

    def __init__(self, options: FeedOptions, val: ImageSource | Cache) -> None:
        """View shards are dealt to the processes where each gets some. Otherwise each reads all of
        them."""
        self._policy = options.val_policy
        self.world = options.world  # of the processes that share the batches
        self._loader: PixelLoader | ShardLoader
        if isinstance(val, ImageSource):
            self.rows = min(options.own_rows, len(val))  # in the largest batch of this process
            self._loader, self._source = pixel_loader(options, val), val
            self.steps = len(batch_starts(len(val), self.rows, self.world))  # of this process
            return
        filled = int((val.samples_of_blocks() > 0).sum())
        if filled < options.world.size:
            self.world = World()
        self._loader = ShardLoader(
            val, [], options.own_rows, 0, options.workers, options.device.type == "cuda",
            self.world.rank, self.world.size,
        )  # fmt: skip
        self.rows = self._loader.largest_batch(0)
        self.steps = self._loader.steps(0)

    def batches(self) -> Iterator[Labelled]:
        if isinstance(self._loader, ShardLoader):
            return shard_batches(self._loader)
        return image_batches(self._loader, 0, self._source, self.rows, self.world, self._policy)

    def close(self) -> None:
        self._loader.close()
