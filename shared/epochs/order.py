"""The order of the samples in an epoch, a pure function of (seed, epoch), and its batches.

The order comes from raw Philox words, which NumPy guarantees across versions (NEP 19). Seed and
epoch are separate words of Philox's key and counter.
"""

import numpy as np
from numpy.typing import NDArray

from shared.distributed import World
from shared.errors import InputError


def epoch_order(samples: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """`samples` in the order for an epoch."""
    return samples[np.argsort(random_words(len(samples), seed, epoch, "order"), kind="stable")]


def random_words(count: int, seed: int, epoch: int, purpose: str) -> NDArray[np.uint64]:
    """(count,) words of 64 random bits; `purpose` has at most 8 ASCII characters."""
    words: NDArray[np.uint64] = random_bits(seed, epoch, purpose).random_raw(count)
    return words


def random_bits(seed: int, epoch: int, purpose: str) -> np.random.Philox:
    # Arrays of uint64, because NumPy converts a list with a number >= 2^63 to float64.
    key = np.array([seed, int.from_bytes(purpose.encode(), "big")], dtype=np.uint64)
    counter = np.array([0, 0, 0, epoch], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


def split_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """ceil(N / batch_size) batches whose sizes differ by at most one, with every sample once.

    A short last batch would give its samples too much weight, and a batch of one sample breaks
    BatchNorm.
    """
    return np.array_split(order, max(1, -(-len(order) // batch_size)))


def smallest_share(samples: int, batch_size: int, processes: int) -> int:
    """Samples in the smallest part that process_share makes of any batch of split_batches."""
    return samples // max(1, -(-samples // batch_size)) // processes


def process_share(batch: NDArray[np.int64], world: World) -> NDArray[np.int64]:
    """This process's part of a step's batch; the sizes of the parts differ by at most one.

    Raises InputError if there are fewer samples than processes.
    """
    if len(batch) < world.size:
        raise InputError(
            f"a batch of {len(batch)} is too small for {world.size} processes, as each takes part "
            f"in every step: use fewer processes or a larger --batch-size"
        )
    return np.array_split(batch, world.size)[world.rank]


def share_sizes(batch: NDArray[np.int64], world: World) -> tuple[int, ...]:
    """The sizes of the parts that process_share makes of a step's batch."""
    return tuple(len(part) for part in np.array_split(batch, world.size))
