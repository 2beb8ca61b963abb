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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.codecs import CODECS
from shared.device import with_pixels_on
from shared.distributed import World
from shared.errors import InputError
from shared.images import ImageSource
from shared.loader import Draw, PixelBatch, PixelLoader, Replay, Request
from shared.store.stream import ShardLoader, StreamBatch
from train.batch import Batch
from train.evaluate import image_batches, shard_batches
from train.feed import CachedViews, LoadedView, counted_batch, live_batch, moved
from train.order import epoch_order, process_share, smallest_share, split_batches
from train.pieces import require_pieces
from train.setup import Setup


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
    shards = setup.cache is not None and setup.cache.manifest.format == "webdataset"
    feed: Input = Streamed(setup) if shards else Replayed(setup)
    require_pieces(
        feed.smallest_part,
        range(setup.recipe.epochs),
        setup.accumulate,
        setup.world.size,
        setup.student.backbone.stride,
        setup.size,
    )
    return feed


class Replayed:
    def __init__(self, setup: Setup) -> None:
        assert setup.train is not None, "views are replayed on images"
        assert isinstance(setup.val, ImageSource)
        self._setup = setup
        self.layout: list[int] = []
        self._source, self._val = setup.train, setup.val
        self.val_world = setup.world
        # One set of workers for both splits.
        self._loader = _pixel_loader(setup, self._source, self._val)
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
                targets = None if setup.teacher is None else setup.teacher(pixels)
                labels = self._labels[batch.index]
                yield (
                    pixels,
                    live_batch(targets, setup.recipe, labels, setup.world, device, setup.spread),
                )

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


class Streamed:
    def __init__(self, setup: Setup) -> None:
        assert setup.cache is not None
        self._setup = setup
        self.layout = [setup.world.size, setup.workers]
        manifest = setup.cache.manifest
        self._codec = CODECS[manifest.codec]
        self._stages = manifest.teacher.channels
        head = setup.cache.head()
        self._head = None if head is None else head.to(setup.device)
        needed = self._codec.needed(setup.recipe.needs) if setup.use_targets else []
        self._loader = ShardLoader(
            setup.cache,
            needed,
            -(-setup.recipe.batch_size // setup.world.size),
            setup.seed,
            setup.workers,
            setup.device.type == "cuda",
            setup.world.rank,
            setup.world.size,
        )
        self._val = _val_loader(setup)
        # A val split may have fewer shards than there are processes: each reads all of them.
        self.val_world = World() if isinstance(self._val, ShardLoader) else setup.world

    def steps(self, epoch: int) -> int:
        return self._loader.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._loader.smallest_batch(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, device = self._setup, self._setup.device
        for batch, pixels in with_pixels_on(device, self._loader.batches(epoch, first)):
            if setup.use_targets:
                yield pixels, self._batch(batch)
            else:
                targets = None if setup.teacher is None else setup.teacher(pixels)
                labels = batch.label
                yield (
                    pixels,
                    live_batch(targets, setup.recipe, labels, setup.world, device, setup.spread),
                )

    def _batch(self, batch: StreamBatch) -> Batch:
        device = self._setup.device
        fields = {k: rows.to(device, non_blocking=True) for k, rows in batch.fields.items()}
        targets = self._codec.decode(fields, self._stages, self._head) if fields else None
        label = batch.label.to(device, non_blocking=True)
        guided = None
        if self._setup.recipe.guide is not None and targets is not None:
            logits = targets.logits
            pred = moved(batch.pred, device)
            guided = self._setup.recipe.guide(pred, lambda: logits, label)
        return counted_batch(label, targets, guided, self._setup.world, self._setup.spread)

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self._val, ShardLoader):
            return shard_batches(self._val)
        assert isinstance(self._setup.val, ImageSource)
        return image_batches(
            self._val, 0, self._setup.val, self._setup.recipe.batch_size, self.val_world
        )

    def close(self) -> None:
        """Nothing is open between epochs."""


def _pixel_loader(setup: Setup, *sources: ImageSource) -> PixelLoader:
    return PixelLoader(sources, setup.size, setup.workers, pin_memory=setup.device.type == "cuda")


def _val_loader(setup: Setup) -> ShardLoader | PixelLoader:
    if isinstance(setup.val, ImageSource):
        return _pixel_loader(setup, setup.val)
    pin_memory = setup.device.type == "cuda"
    return ShardLoader(setup.val, [], setup.recipe.batch_size, 0, setup.workers, pin_memory)
