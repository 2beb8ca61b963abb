"""View shards to batches in loader workers: whole shards in an epoch's order, a shuffle buffer.

    plan(seed, epoch) -> my shards, in order -> samples of the checked bytes
        -> webdataset's shuffle buffer -> JPEG decode -> batches

Which shard goes to which process and worker, and every shuffle, is a pure function of (seed, epoch,
rank, worker). Blocks hold samples from all over the source (manifest.py), so that a batch is as
mixed as a uniform draw, and the buffer only parts the neighbours in a block from one epoch to the
next. Every sample comes once an epoch, and every rank yields the same number of batches,
however uneven the shards: batch sizes give way, by a few samples, instead.
Shapes: B samples of a batch, S pixels.
"""

import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset import shuffle

from shared.cache import webdataset_format
from shared.cache.opening import Cache
from shared.cache.webdataset_format import Sample
from shared.errors import InputError
from shared.loaders.shared_memory import require_room
from shared.loaders.worker import CARRIED, Failed, begin_worker, held_signals, received
from shared.pixels.view import new_batch

BUFFER = 2048  # samples a worker holds to draw from: about 60 MB at 224 px

T = TypeVar("T")


@dataclass(frozen=True)
class StreamBatch:
    index: Tensor  # (B,) int64 sample
    pixels: Tensor  # (B, 3, S, S) uint8, channels last
    label: Tensor  # (B,) int64
    pred: Tensor  # (B,) int64: the live teacher's argmax
    fields: dict[str, Tensor]  # (B, width) each, stored dtype

    def pin_memory(self) -> "StreamBatch":
        """Called by DataLoader's pinning thread."""
        fields = {name: rows.pin_memory() for name, rows in self.fields.items()}
        return StreamBatch(
            self.index, self.pixels.pin_memory(), self.label.pin_memory(), self.pred, fields
        )


@dataclass(frozen=True)
class Share:
    """What one worker of one rank streams in one epoch."""

    blocks: tuple[int, ...]  # in order
    batches: int
    samples: int


def plan(
    samples: NDArray[np.int64],
    batch_size: int,
    seed: int,
    epoch: int,
    world: int,
    workers: int,
) -> list[list[Share]]:
    """[rank][worker] -> Share, from the number of samples in each block of the epoch's view.

    Blocks are dealt in a shuffled order, each to the rank with the fewest samples so far, then
    likewise to that rank's workers. `batch_size` is one rank's. All ranks get as many batches as
    the fullest needs; within a rank they are spread over the workers by their samples.
    """
    generator = np.random.Philox(
        key=np.array([seed, int.from_bytes(b"shards", "big")], dtype=np.uint64),
        counter=np.array([0, 0, 0, epoch], dtype=np.uint64),
    )
    order = np.argsort(generator.random_raw(len(samples)), kind="stable")
    ranks = _deal(order.tolist(), samples, world)
    fullest = max(int(samples[blocks].sum()) for blocks in ranks)
    steps = max(1, -(-fullest // batch_size))
    shares = []
    for blocks in ranks:
        # No more workers than steps: each that has samples yields at least one batch.
        hands = _deal(blocks, samples, max(1, min(workers, steps)))
        hands += [[] for _ in range(workers - len(hands))]
        sizes = [int(samples[hand].sum()) for hand in hands]
        if sum(sizes) < steps:
            raise InputError(
                f"every process takes part in every step: one has {sum(sizes)} samples for "
                f"{steps} steps in shards of {int(samples.max())}; use fewer processes, or make "
                f"the cache with a smaller --block"
            )
        counts = _spread(steps, sizes)
        shares.append(
            [
                Share(tuple(hand), count, size)
                for hand, count, size in zip(hands, counts, sizes, strict=True)
            ]
        )
    return shares


def _deal(blocks: list[int], samples: NDArray[np.int64], hands: int) -> list[list[int]]:
    dealt: list[list[int]] = [[] for _ in range(hands)]
    sizes = [0] * hands
    for block in blocks:
        poorest = sizes.index(min(sizes))
        dealt[poorest].append(block)
        sizes[poorest] += int(samples[block])
    return dealt


def _spread(steps: int, sizes: list[int]) -> list[int]:
    """`steps` over the workers in proportion to their samples, by largest remainder.

    A worker with samples gets at least one batch, and none gets more batches than samples.
    """
    total = sum(sizes)
    counts = [min(max(steps * size // total, size > 0), size) for size in sizes]
    while sum(counts) != steps:
        missing = 1 if sum(counts) < steps else -1
        room = [
            worker
            for worker, (count, size) in enumerate(zip(counts, sizes, strict=True))
            if (count < size if missing > 0 else count > 1)
        ]
        # The worker whose batches are the largest gives one more, or whose are smallest one less.
        chosen = max(room, key=lambda worker: missing * sizes[worker] / max(counts[worker], 1))
        counts[chosen] += missing
    return counts


def skip(batches: list[int], steps: int) -> list[int]:
    """How many of each worker's batches lie in the first `steps`, as workers take turns."""
    taken = [0] * len(batches)
    for turn in range(max(batches)):
        for worker, count in enumerate(batches):
            if turn < count and sum(taken) < steps:
                taken[worker] += 1
    return taken


@dataclass(frozen=True)
class Place:
    """Who draws, and when: what a shuffle depends on."""

    seed: int
    epoch: int
    rank: int
    worker: int


def draw_batches(
    samples: Callable[[int], Iterator[T]], shares: list[Share], place: Place, first: int = 0
) -> Iterator[list[T] | None]:
    """One worker's batches of an epoch, of what `samples` gives for its blocks, from the rank's
    step `first` on. `shares` are those of the rank's workers.

    Every worker yields equally often, None when it has no more batches: were one to end before the
    others, whose batch comes next would depend on who is faster.
    """
    share = shares[place.worker]
    skipped = skip([share.batches for share in shares], first)
    # One integer of its own for each place: Random hashes the text.
    rng = random.Random(f"{place.seed} {place.epoch} {place.rank} {place.worker}")
    inputs = (sample for block in share.blocks for sample in samples(block))
    stream = shuffle(BUFFER, initial=BUFFER, rng=rng)(inputs)
    sizes = [len(part) for part in np.array_split(np.empty(share.samples), share.batches or 1)]
    for _ in range(sum(sizes[: skipped[place.worker]])):
        next(stream)  # read and shuffled as ever, but not decoded
    for turn in range(min(skipped), max(share.batches for share in shares)):
        if skipped[place.worker] <= turn < share.batches:
            yield [next(stream) for _ in range(sizes[turn])]
        else:
            yield None


class _Shards(IterableDataset[StreamBatch | Failed | None]):
    def __init__(
        self, cache: Cache, needed: list[str], batch_size: int, seed: int, rank: int, world: int
    ) -> None:
        self.cache = cache
        self.needed = needed
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.samples = cache.samples_of_blocks()
        # Epoch and first step. Shared, so that workers that outlive an epoch learn of the next one.
        self.start = torch.zeros(2, dtype=torch.int64)
        self.start.share_memory_()

    def shares(self, epoch: int, workers: int) -> list[Share]:
        """This rank's, a worker each."""
        return plan(self.samples, self.batch_size, self.seed, epoch, self.world, workers)[self.rank]

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
            lambda block: self.cache.shard(view, block), self.shares(epoch, workers), place, first
        )
        for samples in drawn:
            yield None if samples is None else self._batch(samples)

    def _batch(self, samples: list[Sample]) -> StreamBatch:
        manifest = self.cache.manifest
        records = [webdataset_format.unpack(manifest, sample.targets) for sample in samples]
        table = np.stack(records)
        pixels = new_batch(len(samples), manifest.size)
        for row, sample in enumerate(samples):
            pixels[row] = self.cache.pixels(sample.index, sample.jpeg)
        return StreamBatch(
            index=torch.tensor([sample.index for sample in samples]),
            pixels=pixels,
            label=torch.tensor([sample.label for sample in samples]),
            pred=torch.from_numpy(table["pred"].astype(np.int64)),
            fields={name: torch.from_numpy(table[name].copy()) for name in self.needed},
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
    ) -> None:
        require_room(workers, batch_size, 3 * cache.manifest.size**2)
        self._shards = _Shards(cache, needed, batch_size, seed, rank, world)
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
        return sum(share.batches for share in self._shards.shares(epoch, max(1, self._workers)))

    def smallest_batch(self, epoch: int) -> int:
        """Samples in the smallest batch of any rank in an epoch."""
        shards = self._shards
        ranks = plan(
            shards.samples, shards.batch_size, shards.seed, epoch, shards.world,
            max(1, self._workers),
        )  # fmt: skip
        return min(s.samples // s.batches for shares in ranks for s in shares if s.batches)

    def batches(self, epoch: int, first: int = 0) -> Iterator[StreamBatch]:
        """The batches of an epoch, from step `first` on. Finish one call's before the next."""
        self._shards.start.copy_(torch.tensor([epoch, first]))
        with held_signals(multiprocessing.get_context()):
            batches = iter(self._loader)
        return (batch for batch in received(batches) if batch is not None)
