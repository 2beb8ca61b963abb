"""Epochs from view shards: pixels, labels and targets in one sequential stream."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor

from shared.device import moved, with_pixels_on
from shared.epochs.batch import EpochBatch
from shared.epochs.options import FeedOptions
from shared.epochs.val_batches import Labelled, ValFeed
from shared.epochs.whole_batch import batch_of_live, counted_batch, with_partners
from shared.loaders.shard_loader import ShardLoader, StreamBatch
from shared.targets.codecs import num_bytes


class Streamed:
    def __init__(self, options: FeedOptions) -> None:
        cache, wanted = options.cache, options.wanted
        assert cache is not None
        self._options = options
        self.layout = [options.world.size, options.workers]
        self._encoding = cache.manifest.encoding
        head = cache.head() if wanted.reads_logits else None
        self._head = None if head is None else head.to(options.device)
        # The same for a cached and a live teacher, so that both get the same batches.
        used = self._encoding.needed(wanted.kinds)
        fields = self._encoding.fields()
        row_bytes = num_bytes({name: fields[name] for name in used})
        self._loader = ShardLoader(
            cache,
            used if options.cached else [],
            options.own_rows,
            options.seed,
            options.workers,
            options.device.type == "cuda",
            options.world.rank,
            options.world.size,
            row_bytes,
        )
        self._val = None if options.val is None else ValFeed(options, options.val)
        self.val_world = options.world if self._val is None else self._val.world
        self.val_rows = 0 if self._val is None else self._val.rows

    def steps(self, epoch: int) -> int:
        return self._loader.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._loader.smallest_batch(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, EpochBatch]]:
        options = self._options
        batches = with_pixels_on(options.device, self._loader.batches(epoch, first))
        steps = self._loader.sizes(epoch)[first:]
        for (batch, pixels), sizes in zip(batches, steps, strict=True):
            if options.cached:
                found = replace(self._batch(batch), sizes=sizes)
            else:
                found = batch_of_live(options, pixels, batch.label, batch.index, sizes)
            yield pixels, with_partners(found, batch.partner, batch.share)

    def _batch(self, batch: StreamBatch) -> EpochBatch:
        options, device = self._options, self._options.device
        fields = {k: rows.to(device, non_blocking=True) for k, rows in batch.fields.items()}
        targets = self._encoding.decode(fields, self._head) if fields else None
        label = batch.label.to(device, non_blocking=True)
        guided = None
        if options.wanted.guide is not None and targets is not None:
            logits = partial(targets.__getitem__, "logits")
            guided = options.wanted.guide(moved(batch.pred, device), logits, label)
        found = counted_batch(label, targets, guided, options.connected)
        index = moved(batch.index, device) if options.with_index else None
        return replace(found, index=index)

    def val_batches(self) -> Iterator[Labelled]:
        assert self._val is not None
        return self._val.batches()

    def close(self) -> None:
        self._loader.close()
        if self._val is not None:
            self._val.close()
