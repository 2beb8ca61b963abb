"""Chooses the device and the number of workers, and sets up kernels and streams."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from shared.errors import InputError


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """The device `name`; if it is None, CUDA if available, else the CPU.

    `cuda` without a number is the GPU with the number `local_rank`, modulo their count. The GPU
    becomes the current one, so that nothing is allocated on another by default. Also calls
    set_arithmetic(). Raises InputError if the device is not usable.
    """
    set_arithmetic()
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
    try:
        device = torch.empty(1, device=name).device  # as tensors report it: cpu:0 is cpu
        make_current(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): leave it out to "
            f"take the best there is"
        ) from error
    return device


def make_current(device: torch.device) -> None:
    """Makes a GPU the current one of this thread; every thread starts with the first GPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on the device; copied to a GPU through pinned memory, without waiting."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use a single thread, as in loader workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def set_arithmetic() -> None:
    """Sets the backend switches that decide which kernels run, equally for every command.

    cuDNN convolutions may use TF32 (10 bits of mantissa), matrix products may not. cuDNN chooses
    algorithms by its heuristics, not by a benchmark, whose result can differ from run to run. These
    are PyTorch's defaults; they are set here in case other code in the process changed them.

    The targets in a cache depend on these switches: verify.py and a live teacher must compute as
    precompute did. A student must be evaluated with the arithmetic that it was trained with.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


@lru_cache
def side_stream(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """This process's CUDA stream for a purpose; every call returns the same one.

    torch reuses memory only in the stream in which it was allocated. A new stream in every epoch
    would therefore keep the memory of all earlier ones.
    """
    return torch.cuda.Stream(device)


class HasPixels(Protocol):
    @property
    def pixels(self) -> Tensor: ...


Pixels = TypeVar("Pixels", bound=HasPixels)


def with_pixels_on(
    device: torch.device, batches: Iterator[Pixels]
) -> Iterator[tuple[Pixels, Tensor]]:
    """Yields each batch with its pixels on the device.

    For a GPU, pixels are copied from the loader's pinned memory in a side stream. The host is ahead
    of the device by a step or more, so the copy runs while the previous step computes.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch, batch.pixels.to(device, non_blocking=True)
        return
    copying = side_stream(device, "pixels")
    for batch in batches:
        with torch.cuda.stream(copying):
            pixels = batch.pixels.to(device, non_blocking=True)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        pixels.record_stream(computing)  # keeps its memory until the step is done
        yield batch, pixels


def default_workers(device: torch.device) -> int:
    """With a GPU, this process's share of the usable cores, 1 to 16.

    0 on a CPU, because the networks need its cores.
    """
    if device.type != "cuda":
        return 0
    return max(1, min(16, usable_cores() // processes_here()))


def usable_cores() -> int:
    """The number of cores that a scheduler or container lets this process run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_here() -> int:
    """The number of processes of this run that torchrun started on this machine; 1 without it."""
    found = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not found.isdecimal() or int(found) < 1:
        raise InputError(f"LOCAL_WORLD_SIZE must be 1 or more: got {found}; start with torchrun")
    return int(found)
