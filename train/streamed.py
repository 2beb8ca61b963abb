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
from train.accuracy import Labelled, image_batches, shard_batches
from train.batch import Batch
from train.replayed import own_rows, pixel_loader
from train.setup import Setup
from train.whole_batch import batch_of_live, counted_batch, with_partners


class Streamed:
    def __init__(self, setup: Setup) -> None:
        assert setup.targets.cache is not None
        self._setup = setup
        self.layout = [setup.world.size, setup.workers]
        self._encoding = setup.targets.cache.manifest.encoding
        head = setup.targets.cache.head() if setup.recipe.reads_logits else None
        self._head = None if head is None else head.to(setup.device)
        # The same for a cached and a live teacher, so that both get the same batches.
        used = self._encoding.needed(setup.recipe.needs)
        fields = self._encoding.fields()
        row_bytes = num_bytes({name: fields[name] for name in used})
        self._loader = ShardLoader(
            setup.targets.cache,
            used if setup.targets.cached else [],
            own_rows(setup),
            setup.seed,
            setup.workers,
            setup.device.type == "cuda",
            setup.world.rank,
            setup.world.size,
            row_bytes,
        )
        self._val, self.val_world = _val_loader(setup)
        if isinstance(self._val, ShardLoader):
            self.val_rows = self._val.largest_batch(0)
        else:
            assert isinstance(setup.images.val, ImageSource)
            self.val_rows = min(own_rows(setup), len(setup.images.val))

    def steps(self, epoch: int) -> int:
        return self._loader.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._loader.smallest_batch(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, device = self._setup, self._setup.device
        batches = with_pixels_on(device, self._loader.batches(epoch, first))
        steps = self._loader.sizes(epoch)[first:]
        for (batch, pixels), sizes in zip(batches, steps, strict=True):
            if setup.targets.cached:
                found = replace(self._batch(batch), sizes=sizes)
            else:
                found = batch_of_live(setup, pixels, batch.label, batch.index, sizes)
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
        return replace(found, index=setup.targets.fixed.index_on(device, batch.index))

    def val_batches(self) -> Iterator[Labelled]:
        if isinstance(self._val, ShardLoader):
            return shard_batches(self._val)
        assert isinstance(self._setup.images.val, ImageSource)
        return image_batches(
            self._val,
            0,
            self._setup.images.val,
            self.val_rows,
            self.val_world,
            self._setup.images.val_policy,
        )

    def close(self) -> None:
        """Does nothing: no resources are held between epochs."""


def _val_loader(setup: Setup) -> tuple[ShardLoader | PixelLoader, World]:
    """The loader of the val split, and the processes that share its batches.

    View shards are dealt to the processes where each gets some. Otherwise each reads all of them.
    """
    if isinstance(val := setup.images.val, ImageSource):
        return pixel_loader(setup, val), setup.world
    filled = int((val.samples_of_blocks() > 0).sum())
    world = setup.world if filled >= setup.world.size else World()
    loader = ShardLoader(
        val, [], own_rows(setup), 0, setup.workers, setup.device.type == "cuda",
        world.rank, world.size,
    )  # fmt: skip
    return loader, world
