"""Where the rows of a view lie, in GPU memory or in host memory, and how they get there."""

import torch
from torch import Tensor

from shared.device import side_stream


def home_of_views(device: torch.device, num_bytes: int) -> torch.device:
    """The GPU, if two views (this epoch's and the next's) are a quarter of its memory at most."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        if 2 * num_bytes <= memory / 4:
            return device
    return torch.device("cpu")


def moved_aside(rows: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """In a stream of their own, so that training goes on meanwhile.

    Steps that still read a view when it is dropped keep its memory: the next one in this stream
    would else be written over it.
    """
    if device.type != "cuda":
        return rows
    copying = side_stream(device, "views")
    with torch.cuda.stream(copying):
        there = {name: values.to(device) for name, values in rows.items()}
    copying.synchronize()
    for values in there.values():
        values.record_stream(torch.cuda.default_stream(device))  # in which training runs
    return there
