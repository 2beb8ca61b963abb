"""Chooses whether a view's rows are kept in GPU memory or host memory, and copies them there."""

import torch
from torch import Tensor

from shared.device import side_stream


def home_of_views(device: torch.device, num_bytes: int) -> torch.device:
    """The GPU if two views, this epoch's and the next, fit into a quarter of its memory; else CPU.

    `num_bytes` is the size of one view.
    """
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        if 2 * num_bytes <= memory / 4:
            return device
    return torch.device("cpu")


def moved_aside(rows: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copies rows to the device in a side stream, so that training continues meanwhile.

    When a view is freed, training steps may still read it, and the next view could be written over
    it in this stream. record_stream keeps the memory until those steps are done.
    """
    if device.type != "cuda":
        return rows
    copying = side_stream(device, "views")
    with torch.cuda.stream(copying):
        there = {name: values.to(device) for name, values in rows.items()}
    copying.synchronize()
    for values in there.values():
        values.record_stream(torch.cuda.default_stream(device))  # training runs in it
    return there
