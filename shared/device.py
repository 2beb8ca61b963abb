"""Which device, how many workers: the defaults of every command."""

import os

import torch

from shared.errors import InputError


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """`name`, or CUDA where there is one, else the CPU. InputError where it is not usable.

    Without a number, `cuda` is the GPU of this process's position on the machine.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device must be one that torch can use here: {name} is not "
            f"({str(error).splitlines()[0]}); leave it out to take the best there is"
        ) from error
    return device


def default_workers(device: torch.device) -> int:
    """All cores but at most 16 beside a GPU; none on a CPU, whose cores the networks need."""
    return min(16, os.cpu_count() or 1) if device.type == "cuda" else 0
