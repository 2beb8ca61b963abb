"""Raw words of the counter-based generator Philox, which every random choice about a view uses.

The generator starts from key (seed, purpose) and counter (0, 0, view number, sample index), where
each number has a 64-bit word of its own. No two views and no two purposes share random words, and
the result does not depend on order, workers or restarts. Only raw words are used, because NumPy
guarantees them across versions (NEP 19) but not the distributions of its Generator.
"""

import numpy as np
from numpy.typing import NDArray


def purpose(name: str) -> int:
    """The word of a key that a name of at most eight ASCII characters stands for."""
    data = name.encode("ascii")
    assert len(data) <= 8
    return int.from_bytes(data, "big")


def words(seed: int, what: int, number: int, index: int, count: int) -> NDArray[np.uint64]:
    """(count,) words for view `number` of sample `index`, for the purpose `what`."""
    # Arrays, because NumPy converts a list with integers >= 2**63 to float64, which loses bits.
    # Philox counts its blocks of four words in counter word 0, so the streams of two different
    # (number, index) are at least 2**128 blocks apart.
    key = np.array([seed, what], dtype=np.uint64)
    counter = np.array([0, 0, number, index], dtype=np.uint64)
    found: NDArray[np.uint64] = np.random.Philox(key=key, counter=counter).random_raw(count)
    return found


def below(word: int, bound: int) -> int:
    """An integer in 0..bound-1 from a word, uniform to within bound / 2**64."""
    return word * bound >> 64


def share(word: int) -> float:
    """A number in [0, 1) from a word: a multiple of 2**-32."""
    return (word >> 32) * 2.0**-32
