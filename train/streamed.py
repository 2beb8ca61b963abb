"""The training input from view shards: pixels, labels and targets in one sequential stream."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from shared.device import moved, with_pixels_on
from shared.distributed import World
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import PixelLoader
from shared.loaders.shard_loader import ShardLoader, StreamBatch
from shared.targets.codecs import num_bytes
from train.accuracy import image_batches, shard_batches
from train.batch import Batch
from train.replayed import pixel_loader
from train.setup import Setup
from train.whole_batch import batch_of_live, counted_batch, with_partners


class Streamed:
    def __init__(self, setup: Setup) -> None:
        assert setup.targets.cache is not None
        self._setup = setup
        self.layout = [setup.world.size, setup.workers]
        self._encoding = setup.targets.cache.manifest.encoding
        head = setup.targets.cache.head()
        self._head = None if head is None else head.to(setup.device)
        # The same for a cached and a live teacher, so that both get the same batches.
        used = self._encoding.needed(setup.recipe.needs)
        fields = self._encoding.fields()
        row_bytes = num_bytes({name: fields[name] for name in used})
        self._loader = ShardLoader(
            setup.targets.cache,
            used if setup.targets.cached else [],
            -(-setup.recipe.batch_size // setup.world.size),
            setup.seed,
            setup.workers,
            setup.device.type == "cuda",
            setup.world.rank,
            setup.world.size,
            row_bytes,
        )
        self._val = _val_loader(setup)
        # A val split may have fewer shards than there are processes, so each reads all of them.
        self.val_world = World() if isinstance(self._val, ShardLoader) else setup.world

    def steps(self, epoch: int) -> int:
        return self._loader.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._loader.smallest_batch(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, device = self._setup, self._setup.device
        for batch, pixels in with_pixels_on(device, self._loader.batches(epoch, first)):
            if setup.targets.cached:
                found = self._batch(batch)
            else:
                found = batch_of_live(setup, pixels, batch.label, batch.index)
            yield pixels, with_partners(found, batch.partner, batch.share)

    def _batch(self, batch: StreamBatch) -> Batch:
        device = self._setup.device
        fields = {k: rows.to(device, non_blocking=True) for k, rows in batch.fields.items()}
        targets = self._encoding.decode(fields, self._head) if fields else None
        label = batch.label.to(device, non_blocking=True)
        guided = None
        if self._setup.recipe.guide is not None and targets is not None:
            logits = targets["logits"]
            pred = moved(batch.pred, device)
            guided = self._setup.recipe.guide(pred, lambda: logits, label)
        setup = self._setup
        found = counted_batch(label, targets, guided, setup.world, setup.targets.fixed)
        return replace(found, index=moved(batch.index, device))

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self._val, ShardLoader):
            return shard_batches(self._val)
        assert isinstance(self._setup.images.val, ImageSource)
        return image_batches(
            self._val,
            0,
            self._setup.images.val,
            self._setup.recipe.batch_size,
            self.val_world,
            self._setup.images.val_policy,
        )

    def close(self) -> None:
        """Does nothing: no resources are held between epochs."""


def _val_loader(setup: Setup) -> ShardLoader | PixelLoader:
    if isinstance(setup.images.val, ImageSource):
        return pixel_loader(setup, setup.images.val)
    pin_memory = setup.device.type == "cuda"
    return ShardLoader(setup.images.val, [], setup.recipe.batch_size, 0, setup.workers, pin_memory)
