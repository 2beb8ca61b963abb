"""Assigns shards to processes and workers, and samples to batches.

Everything here is a pure function of (seed, epoch, rank, worker).
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from webdataset import shuffle

from shared.errors import InputError

BUFFER = 2048  # samples in a worker's shuffle buffer: about 60 MB at 224 px
LARGEST_BUFFER = 512 << 20  # limit on the bytes of targets in the buffer

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """What one worker of one rank streams in an epoch."""

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
    """The Share of every [rank][worker]. `samples`: samples in each block of the epoch's view.

    Blocks are dealt in a shuffled order, each to the rank with the fewest samples so far, and then
    in the same way to that rank's workers. `batch_size` is per rank. Every rank gets as many
    batches as the rank with the most samples needs; within a rank, workers get batches in
    proportion to their samples.

    Raises InputError if a rank has fewer samples than steps.
    """
    generator = np.random.Philox(
        key=np.array([seed, int.from_bytes(b"shards", "big")], dtype=np.uint64),
        counter=np.array([0, 0, 0, epoch], dtype=np.uint64),
    )
    order = np.argsort(generator.random_raw(len(samples)), kind="stable")
    ranks = deal(order.tolist(), samples, world)
    fullest = max(int(samples[blocks].sum()) for blocks in ranks)
    steps = max(1, -(-fullest // batch_size))
    shares = []
    for blocks in ranks:
        # Use at most `steps` workers, because a worker with samples yields at least one batch.
        hands = deal(blocks, samples, max(1, min(workers, steps)))
        hands += [[] for _ in range(workers - len(hands))]
        sizes = [int(samples[hand].sum()) for hand in hands]
        if sum(sizes) < steps:
            raise InputError(
                f"a process has {sum(sizes)} samples for {steps} steps in shards of "
                f"{int(samples.max())}, too few to take part in every step: use fewer processes, "
                f"or make the cache with a smaller --block"
            )
        counts = share_steps(steps, sizes)
        shares.append(
            [
                Share(tuple(hand), count, size)
                for hand, count, size in zip(hands, counts, sizes, strict=True)
            ]
        )
    return shares


def deal(blocks: list[int], samples: NDArray[np.int64], hands: int) -> list[list[int]]:
    """Gives each block in turn to the hand with the fewest samples so far."""
    dealt: list[list[int]] = [[] for _ in range(hands)]
    sizes = [0] * hands
    for block in blocks:
        poorest = sizes.index(min(sizes))
        dealt[poorest].append(block)
        sizes[poorest] += int(samples[block])
    return dealt


def share_steps(steps: int, sizes: list[int]) -> list[int]:
    """Splits `steps` batches among workers in proportion to their samples (`sizes`).

    A worker with samples gets at least one batch, and no worker gets more batches than samples.
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
        # Add a batch where batches are largest, or take one away where they are smallest.
        chosen = max(room, key=lambda worker: missing * sizes[worker] / max(counts[worker], 1))
        counts[chosen] += missing
    return counts


def skip(batches: list[int], steps: int) -> list[int]:
    """How many batches of each worker are among the rank's first `steps`: workers take turns."""
    taken = [0] * len(batches)
    for turn in range(max(batches)):
        for worker, count in enumerate(batches):
            if turn < count and sum(taken) < steps:
                taken[worker] += 1
    return taken


def batch_sizes(share: Share) -> list[int]:
    """The sizes of a worker's batches, which differ by at most one; numpy.array_split's."""
    if not share.batches:
        return []
    size, larger = divmod(share.samples, share.batches)
    return [size + 1] * larger + [size] * (share.batches - larger)


def step_sizes(shares: list[Share]) -> list[int]:
    """The sizes of a rank's batches in the order of its steps: workers take turns."""
    sizes = [batch_sizes(share) for share in shares]
    turns = range(max(map(len, sizes)))
    return [worker[turn] for turn in turns for worker in sizes if turn < len(worker)]


@dataclass(frozen=True)
class Place:
    """What the shuffle of one worker in one epoch depends on."""

    seed: int
    epoch: int
    rank: int
    worker: int


def draw_batches(
    samples: Callable[[int], Iterator[T]],
    shares: list[Share],
    place: Place,
    first: int = 0,
    buffer: int = BUFFER,
) -> Iterator[list[T] | None]:
    """One worker's batches of an epoch, from the rank's step `first`.

    `samples` gives the samples of a block; `shares` are the shares of the rank's workers. All
    workers yield the same number of times, and None when they have no batch left: if one ended
    early, the order of the remaining batches would depend on which worker is faster.
    """
    share = shares[place.worker]
    skipped = skip([share.batches for share in shares], first)
    # Random hashes the string, so every place gets its own seed.
    rng = random.Random(f"{place.seed} {place.epoch} {place.rank} {place.worker}")
    inputs = (sample for block in share.blocks for sample in samples(block))
    stream = shuffle(buffer, initial=buffer, rng=rng)(inputs)
    sizes = batch_sizes(share)
    for _ in range(sum(sizes[: skipped[place.worker]])):
        next(stream)  # read and shuffle, but do not decode
    for turn in range(min(skipped), max(share.batches for share in shares)):
        if skipped[place.worker] <= turn < share.batches:
            yield [next(stream) for _ in range(sizes[turn])]
        else:
            yield None
