"""Pictures for tests of views: of noise, and the sizes that they are drawn for."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

DRAWS = 20_000
IMAGENET, CIFAR, PANORAMA = (375, 500), (32, 32), (60, 1000)
SIDES = st.integers(1, 5000)
WORDS = st.integers(0, 2**64 - 1)


def picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Noise, in which one pixel off is seen."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
