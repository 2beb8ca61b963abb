"""Which samples when: a pure function of (seed, epoch), cut into batches of equal size.

The order comes from raw Philox words, which NumPy promises to keep (NEP 19); seed and epoch each
have a key word of their own.
"""

import numpy as np
from numpy.typing import NDArray

from shared.distributed import World
from shared.errors import InputError


def epoch_order(samples: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """`samples` in the order of an epoch."""
    return samples[np.argsort(random_words(len(samples), seed, epoch, "order"), kind="stable")]


def random_words(count: int, seed: int, epoch: int, purpose: str) -> NDArray[np.uint64]:
    """(count,) of 64 random bits; `purpose`: at most 8 ASCII characters."""
    # Arrays of uint64: a list with a number from 2^63 up would go through float64.
    key = np.array([seed, int.from_bytes(purpose.encode(), "big")], dtype=np.uint64)
    counter = np.array([0, 0, 0, epoch], dtype=np.uint64)
    words: NDArray[np.uint64] = np.random.Philox(key=key, counter=counter).random_raw(count)
    return words


def split_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """ceil(N / batch_size) batches whose sizes differ by at most one; every sample once.

    A short last batch would give its few samples the weight of many, and one of a single sample
    breaks BatchNorm; here every step counts about the same.
    """
    return np.array_split(order, max(1, -(-len(order) // batch_size)))


def smallest_share(samples: int, batch_size: int, processes: int) -> int:
    """Samples in the smallest part that process_share cuts from any of split_batches."""
    return samples // max(1, -(-samples // batch_size)) // processes


def process_share(batch: NDArray[np.int64], world: World) -> NDArray[np.int64]:
    """One process's part of a step's batch; the parts' sizes differ by at most one.

    InputError where there are fewer samples than processes.
    """
    if len(batch) < world.size:
        raise InputError(
            f"a batch of {len(batch)} is too small for {world.size} processes, as each takes part "
            f"in every step: use fewer processes or a larger --batch-size"
        )
    return np.array_split(batch, world.size)[world.rank]
