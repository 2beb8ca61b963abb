"""Chooses whether the rows of views are kept in GPU memory or host memory."""

import torch


def home_of_views(device: torch.device, num_bytes: int) -> torch.device:
    """The GPU if two views, this epoch's and the next, fit into a quarter of its memory; else CPU.

    `num_bytes` is the size of one view.
    """
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        if 2 * num_bytes <= memory / 4:
            return device
    return torch.device("cpu")
