"""Streams batches from view shards in DataLoader workers, with a seeded shuffle.

    plan(seed, epoch) -> this worker's shards, in order -> samples, after the hash check
        -> webdataset's shuffle buffer -> JPEG decode -> batches

The assignment of shards to processes and workers, and every shuffle, is a pure function of (seed,
epoch, rank, worker). A block holds samples from all over the source (manifest.py), so a batch is as
well mixed as a uniform draw; the buffer only keeps the samples of a block from being neighbours in
every epoch. Each sample is read once per epoch, and all ranks yield the same number of batches
however uneven the shards are: the batch size varies by a few samples instead.

Shapes: B samples in a batch, images of S x S pixels.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from shared.formats.shard_samples import StoredView
from shared.loaders.shard_plan import (
    BUFFER,
    LARGEST_BUFFER,
    Place,
    Share,
    draw_batches,
    plan,
    step_sizes,
)
from shared.loaders.shared_memory import require_room
from shared.loaders.worker import CARRIED, Failed, begin_worker, end_workers, held_signals, received
from shared.pixels.view import new_batch
from shared.store.labelled import added_layers, rows_of_shard
from shared.store.opening import Cache
from shared.store.stored_views import pixels_of, shard


@dataclass(frozen=True)
class StreamBatch:
    index: Tensor  # (B,) int64 sample indices
    pixels: Tensor  # (B, 3, S, S) uint8, channels last
    label: Tensor  # (B,) int64
    pred: Tensor  # (B,) int64: the live teacher's argmax
    fields: dict[str, Tensor]  # (B, width) each, in the stored dtype
    # If the cache mixes views, (B,) each: the partners' labels, int64, and the weights of the
    # samples' own labels, float32.
    partner: Tensor | None = None
    share: Tensor | None = None

    def pin_memory(self) -> "StreamBatch":
        """Called by DataLoader's pinning thread."""
        fields = {name: rows.pin_memory() for name, rows in self.fields.items()}
        return replace(
            self, pixels=self.pixels.pin_memory(), label=self.label.pin_memory(), fields=fields
        )


class _Shards(IterableDataset[StreamBatch | Failed | None]):
    def __init__(
        self,
        cache: Cache,
        needed: list[str],
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        row_bytes: int,
    ) -> None:
        self.cache = cache
        self.needed = needed
        self.layers = added_layers(cache.manifest, needed)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.samples = cache.samples_of_blocks()
        self.buffer = max(1, min(BUFFER, LARGEST_BUFFER // max(1, row_bytes)))
        # Epoch and first step, in shared memory: persistent workers read the next epoch from it.
        self.start = torch.zeros(2, dtype=torch.int64)
        self.start.share_memory_()

    def plan(self, epoch: int, workers: int) -> list[list[Share]]:
        """The shares of every rank's workers."""
        return plan(self.samples, self.batch_size, self.seed, epoch, self.world, max(1, workers))

    def __iter__(self) -> Iterator[StreamBatch | Failed | None]:
        try:
            yield from self._batches()
        except CARRIED as error:
            yield Failed.of(error)

    def _batches(self) -> Iterator[StreamBatch | None]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, first = self.start.tolist()
        view = epoch % self.cache.manifest.views
        place = Place(self.seed, epoch, self.rank, worker)
        drawn = draw_batches(
            lambda block: shard(self.cache, view, block, self.layers),
            self.plan(epoch, workers)[self.rank],
            place,
            first,
            self.buffer,
        )
        for samples in drawn:
            yield None if samples is None else self._batch(samples)

    def _batch(self, samples: list[StoredView]) -> StreamBatch:
        manifest = self.cache.manifest
        rows = rows_of_shard(manifest, samples, [*self.needed, "pred"])
        pred = rows.fields.pop("pred")
        pixels = new_batch(len(samples), manifest.size)
        for row, sample in enumerate(samples):
            pixels[row] = pixels_of(self.cache, sample.index, sample.jpeg)
        return StreamBatch(
            index=torch.from_numpy(rows.index),
            pixels=pixels,
            label=torch.from_numpy(rows.labels),
            pred=pred.long(),
            fields=rows.fields,
            partner=None if rows.partner is None else torch.from_numpy(rows.partner),
            share=None if rows.share is None else torch.from_numpy(rows.share).float(),
        )


class ShardLoader:
    def __init__(
        self,
        cache: Cache,
        needed: list[str],
        batch_size: int,
        seed: int,
        workers: int,
        pin_memory: bool,
        rank: int = 0,
        world: int = 1,
        row_bytes: int = 0,
    ) -> None:
        """`row_bytes`: bytes per sample of the targets that the run uses, from the cache or from a
        live teacher. If they are large, each worker's shuffle buffer holds fewer samples.

        Raises InputError if shared memory is too small for the batches."""
        require_room(workers, batch_size, 3 * cache.manifest.size**2 + row_bytes)
        self._shards = _Shards(cache, needed, batch_size, seed, rank, world, row_bytes)
        self._workers = workers
        self._loader: DataLoader[StreamBatch | Failed | None] = DataLoader(
            self._shards,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=begin_worker,
        )

    def steps(self, epoch: int) -> int:
        return len(self.sizes(epoch))

    def sizes(self, epoch: int) -> list[tuple[int, ...]]:
        """For each step of an epoch, the number of samples of each rank.

        All ranks must have the same number of workers."""
        return list(zip(*map(step_sizes, self._shards.plan(epoch, self._workers)), strict=True))

    def largest_batch(self, epoch: int) -> int:
        """The number of samples in the largest batch of this rank in an epoch."""
        return max(sizes[self._shards.rank] for sizes in self.sizes(epoch))

    def smallest_batch(self, epoch: int) -> int:
        """The number of samples in the smallest batch of any rank in an epoch."""
        return min(map(min, self.sizes(epoch)))

    def batches(self, epoch: int, first: int = 0) -> Iterator[StreamBatch]:
        """The batches of an epoch from step `first`. Exhaust them before calling this again."""
        self._shards.start.copy_(torch.tensor([epoch, first]))
        with held_signals(multiprocessing.get_context()):
            batches = iter(self._loader)
        return (batch for batch in received(batches) if batch is not None)

    def close(self) -> None:
        """Ends the workers. Later batches start new ones."""
        end_workers(self._loader)
