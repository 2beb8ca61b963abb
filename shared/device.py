"""Which device, how many workers: the defaults of every command."""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from shared.errors import InputError


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """`name`, or CUDA where there is one, else the CPU. InputError where it is not usable.

    Without a number, `cuda` is the GPU of this process's position on the machine. A GPU becomes
    the current one, so that nothing is made on another by default.
    """
    set_arithmetic()
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
    try:
        device = torch.empty(1, device=name).device  # as tensors have it: cpu:0 is cpu
        make_current(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): leave it out to "
            f"take the best there is"
        ) from error
    return device


def make_current(device: torch.device) -> None:
    """In this thread; each begins with the first GPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def set_arithmetic() -> None:
    """The backend switches that decide which kernels run, the same for every command.

    cuDNN convolutions may use TF32 (10 bits of mantissa), matrix products do not, and cuDNN takes
    the algorithm of its heuristics, not the one that won a race on this machine today. These are
    PyTorch's defaults, set here so that they hold whatever else in the process has set. A cache
    holds what the teacher said under them: verify.py and a live teacher beside a student must
    calculate as precompute did, and a student is judged in the arithmetic that trained it.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


@lru_cache
def side_stream(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """The one stream of this process for a purpose.

    Memory that was allocated in a stream is used again by that stream alone: a new one for every
    epoch would keep the memory of all those before it.
    """
    return torch.cuda.Stream(device)


class HasPixels(Protocol):
    @property
    def pixels(self) -> Tensor: ...


Pixels = TypeVar("Pixels", bound=HasPixels)


def with_pixels_on(
    device: torch.device, batches: Iterator[Pixels]
) -> Iterator[tuple[Pixels, Tensor]]:
    """Every batch and its pixels on the device.

    On a GPU they are copied in a stream of their own, from the loader's pinned memory: the host is
    ahead of the device by a step or more, so that the copy runs while the step before computes.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch, batch.pixels.to(device)
        return
    copying = side_stream(device, "pixels")
    for batch in batches:
        with torch.cuda.stream(copying):
            pixels = batch.pixels.to(device, non_blocking=True)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        pixels.record_stream(computing)  # its memory is not given away before that is done
        yield batch, pixels


def default_workers(device: torch.device) -> int:
    """Beside a GPU this process's part of the cores it may use, 1 to 16; none on a CPU, whose cores
    the networks need."""
    if device.type != "cuda":
        return 0
    return max(1, min(16, usable_cores() // processes_here()))


def usable_cores() -> int:
    """Those that this process may run on: a scheduler or a container may have taken some away."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_here() -> int:
    """How many processes of this run torchrun started on this machine; 1 without it."""
    found = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not found.isdecimal() or int(found) < 1:
        raise InputError(f"LOCAL_WORLD_SIZE must be 1 or more: got {found}; start with torchrun")
    return int(found)
