"""Views replayed on the source's images, targets gathered from the cache by sample index."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import with_pixels_on
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from train.accuracy import image_batches
from train.batch import Batch
from train.cached_views import CachedViews, LoadedView
from train.order import epoch_order, process_share, smallest_share, split_batches
from train.setup import Setup
from train.whole_batch import batch_of_live


class Replayed:
    def __init__(self, setup: Setup) -> None:
        assert setup.train is not None, "views are replayed on images"
        assert isinstance(setup.val, ImageSource)
        self._setup = setup
        self.layout: list[int] = []
        self._source, self._val = setup.train, setup.val
        self.val_world = setup.world
        # One set of workers for both splits.
        self._loader = pixel_loader(setup, self._source, self._val)
        self._loader.start()  # before a view is in memory, whose pages workers would keep
        self._labels = torch.from_numpy(setup.train.labels)
        self._samples = np.arange(len(setup.train))
        self._views = None
        if setup.cache is not None:
            self._views = CachedViews(
                *(setup.cache, setup.recipe, self._labels, setup.use_targets, setup.device),
                setup.spread,
            )
            skipped = [index for index, _, _ in setup.cache.skipped()]
            self._samples = np.delete(self._samples, skipped)

    def steps(self, epoch: int) -> int:
        return max(1, -(-len(self._samples) // self._setup.recipe.batch_size))

    def smallest_part(self, epoch: int) -> int:
        batch_size, processes = self._setup.recipe.batch_size, self._setup.world.size
        return smallest_share(len(self._samples), batch_size, processes)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, device = self._setup, self._setup.device
        view = self._views.load(epoch) if self._views else None
        order = epoch_order(self._samples, setup.seed, epoch)
        steps = split_batches(order, setup.recipe.batch_size)[first:]
        pixel_batches = self._loader.batches(self._requests(view, epoch, steps))
        if self._views and epoch + 1 < setup.recipe.epochs:
            self._views.prefetch(epoch + 1)  # after the loader has forked its workers
        on_device = with_pixels_on(device, self._decoded(pixel_batches))
        for step, (batch, pixels) in zip(steps, on_device, strict=True):
            if self._views is not None and view is not None and setup.use_targets:
                whole = torch.from_numpy(step)
                yield pixels, self._views.batch(view, batch.index, whole, setup.world)
            else:
                yield pixels, batch_of_live(setup, pixels, self._labels[batch.index])

    def _requests(
        self, view: LoadedView | None, epoch: int, steps: list[NDArray[np.int64]]
    ) -> Iterator[Request]:
        """Stored boxes replayed; without a cache every epoch draws views of its own."""
        setup = self._setup
        for step in steps:
            index = process_share(step, setup.world)
            if view is None:
                yield Request(0, index, Draw(setup.policy, setup.seed, epoch))
            else:
                stored = Replay(setup.policy, view.box[index], view.flip[index])
                yield Request(0, index, stored)

    def _decoded(self, batches: Iterator[PixelBatch]) -> Iterator[PixelBatch]:
        for batch in batches:
            if batch.bad:
                row, reason = batch.bad[0]
                raise InputError(
                    f"every image must decode: {self._source.keys[int(batch.index[row])]} in "
                    f"{self._source.spec} does not ({reason}); repair or remove it, or make a "
                    f"cache with precompute/run.py --skip-bad and train from that"
                )
            yield batch

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return image_batches(
            self._loader, 1, self._val, self._setup.recipe.batch_size, self.val_world
        )

    def close(self) -> None:
        if self._views is not None:
            self._views.close()


def pixel_loader(setup: Setup, *sources: ImageSource) -> PixelLoader:
    """For the splits of a run, in the order of `sources`."""
    return PixelLoader(sources, setup.size, setup.workers, pin_memory=setup.device.type == "cuda")
