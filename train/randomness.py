"""Dropout, stochastic depth and the like take random numbers from torch's global generator.

Its state is not saved, and other code uses it too. It therefore gets a new seed before each step,
which depends only on the run's seed and the step. A run that was stopped then continues as if it
had not been, and runs with a cached and a live teacher drop the same numbers.
"""

import numpy as np
import torch

PURPOSE = int.from_bytes(b"dropout", "big")


def seed_step(seed: int, epoch: int, step: int, rank: int, device: torch.device) -> None:
    """`step`: of the epoch. Each process draws its own numbers, as it has its own samples."""
    key = np.array([seed, PURPOSE], dtype=np.uint64)
    counter = np.array([0, rank, step, epoch], dtype=np.uint64)
    word = int(np.random.Philox(key=key, counter=counter).random_raw())
    # torch.manual_seed seeds all kinds of devices, which takes 180 us; this takes 1.
    if device.type == "cuda":
        torch.cuda.manual_seed(word)
    else:
        torch.default_generator.manual_seed(word)
