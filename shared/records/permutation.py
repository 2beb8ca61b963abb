"""A seeded permutation of a source's samples, and its inverse."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_PURPOSE = int.from_bytes(b"blocks", "big")


def permutation(seed: int, samples: int) -> NDArray[np.int64]:
    """(N,) the sample at each position; read-only."""
    return _permutations(seed, samples)[0]


def inverse_permutation(seed: int, samples: int) -> NDArray[np.int64]:
    """(N,) the position of each sample; read-only."""
    return _permutations(seed, samples)[1]


@lru_cache(maxsize=4)  # for train and val; 20 MB for ImageNet
def _permutations(seed: int, samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) samples by position, and (N,) positions by sample."""
    key = np.array([seed, _PURPOSE], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=np.zeros(4, np.uint64)).random_raw(samples)
    order = np.argsort(words, kind="stable")
    inverse = np.empty(samples, np.int64)
    inverse[order] = np.arange(samples)
    for array in (order, inverse):
        array.setflags(write=False)
    return order, inverse
