"""A shuffle within a sliding window: a random order in which no place moves far.

In an epoch whose targets do not fit into memory, samples can only be used while they are in it. If
they are read in some order, and place p of that order may be used at most `reach` places earlier or
later, then a step needs the last 2 x `reach` places that were read, and on average half of them
are not used yet: about `reach` samples are in memory.

Place p gets the key p + u, with u uniform in -reach ... reach, and places are sorted by their keys.
A key that lies outside the epoch is reflected at its first or last place, so that keys have the
same density everywhere: a step draws its samples uniformly from the places within `reach` of it.
"""

import numpy as np
from numpy.typing import NDArray

from shared.epochs.order import random_bits

_PURPOSE = "sliding"
_SEGMENT = 1 << 20  # places that are sorted at a time, if `reach` is smaller
_LOW = np.uint64(32)  # keys and places have 32 bits each


def sliding_order(count: int, reach: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """(count,) the places 0 ... count - 1 in their new order."""
    assert 0 <= reach < count < 1 << 31, (reach, count)
    bits = random_bits(seed, epoch, _PURPOSE)
    order = np.empty(count, np.int32)
    waiting, done = np.empty(0, np.uint64), 0
    for start in range(0, count, max(_SEGMENT, reach)):
        stop = min(start + max(_SEGMENT, reach), count)
        places = np.arange(start, stop, dtype=np.int64)
        moved = bits.random_raw(stop - start) >> _LOW
        moved = moved * np.uint64(2 * reach + 1) >> _LOW
        keys = places + moved.astype(np.int64) - reach
        keys = np.where(keys < 0, -1 - keys, keys)
        keys = np.where(keys >= count, 2 * count - 1 - keys, keys)
        waiting = np.concatenate([waiting, (keys << 32 | places).astype(np.uint64)])
        waiting.sort()
        # The places that follow have keys of at least stop - reach.
        least = count if stop == count else max(0, stop - reach)
        final = int(np.searchsorted(waiting, np.uint64(least << 32)))
        order[done : done + final] = waiting[:final] & np.uint64((1 << 32) - 1)
        waiting, done = waiting[final:], done + final
    return order
