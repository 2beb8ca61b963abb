"""Everything that knows of more than one process. One process is a world of 1, not a branch.

torchrun hands out RANK, WORLD_SIZE and LOCAL_RANK. precompute needs no more than these: its
processes share nothing. Training also talks: gradients (DistributedDataParallel), sums, buffers.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import InputError, StorageError

Made = TypeVar("Made")


@dataclass(frozen=True)
class World:
    rank: int = 0
    size: int = 1
    local_rank: int = 0  # position on this machine: which GPU

    @property
    def is_first(self) -> bool:
        """The one process that writes and prints."""
        return self.rank == 0


def read_world() -> World:
    """From RANK, WORLD_SIZE and LOCAL_RANK. InputError where they are not ranks."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name) for name in names]
    if found[1] is None:
        return World()
    try:
        rank, size, local_rank = (int(value or 0) for value in found)
    except ValueError:
        rank, size, local_rank = -1, -1, -1
    if not 0 <= rank < size or local_rank < 0:
        raise InputError(
            f"RANK and WORLD_SIZE must be 0 <= rank < size: got {found[0]} and {found[1]}; start "
            f"with torchrun, or unset them"
        )
    return World(rank, size, local_rank)


def connect(world: World, device: torch.device) -> None:
    """Joins the processes of one run: NCCL between GPUs, gloo between CPUs.

    InputError where two of them are on one GPU, which NCCL does not take.
    """
    if world.size > 1:
        if device.type != "cuda":
            distributed.init_process_group("gloo")
            return
        try:  # told which GPU, NCCL does not guess it from the rank, and connects at once
            distributed.init_process_group("nccl", device_id=device)
        except RuntimeError as error:
            if "Duplicate GPU" not in str(error):
                raise
            raise InputError(
                f"two processes of this run are on one GPU, one of them on {device}: start as many "
                f"as the machine has GPUs (torchrun --nproc-per-node) and leave out --device"
            ) from error


def disconnect(world: World) -> None:
    if world.size > 1:
        distributed.destroy_process_group()


def parallel(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """`model`, its gradients averaged over the processes at every backward."""
    if world.size == 1:
        return model
    for parameter in model.parameters():
        if parameter.dim() == 4 and parameter.shape[2:] == (1, 1):
            parameter.register_hook(partial(_laid_out_as, parameter.stride()))
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def _laid_out_as(strides: tuple[int, ...], gradient: Tensor) -> Tensor:
    """The same numbers in the same memory, with other strides for the dimensions of size 1.

    For a 1x1 kernel channels first and channels last are one order, and a backend writes down the
    strides of either. DistributedDataParallel compares strides with those of its buckets, which
    are the parameter's, warns of a difference in every process and copies element by element.
    """
    if gradient.stride() != strides and gradient.is_contiguous():
        return gradient.as_strided(gradient.shape, strides)
    return gradient


def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """Backward passes inside add to this process's gradients and leave the others alone."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def any_of(flag: bool, world: World, device: torch.device) -> bool:
    """Whether it is true in any process; every process must ask. Waits for the device."""
    return (
        bool(sum_over(torch.tensor(float(flag), device=device), world)) if world.size > 1 else flag
    )


def sum_over(tensor: Tensor, world: World) -> Tensor:
    """The sum of every process's tensor, in all of them."""
    if world.size > 1:
        tensor = tensor.clone()
        distributed.all_reduce(tensor)
    return tensor


def from_first(make: Callable[[], Made], world: World) -> Made:
    """What `make` returns in the first process, in all of them; it runs in no other.

    An InputError or StorageError there is raised everywhere, so that all end with the same line.
    """
    if world.size == 1:
        return make()
    answer: list[Any] = [None, None]
    if world.is_first:
        try:
            answer[0] = make()
        except (InputError, StorageError) as error:
            answer[1] = error
    distributed.broadcast_object_list(answer, 0)
    if answer[1] is not None:
        raise answer[1]
    made: Made = answer[0]
    return made


def share_buffers(model: nn.Module, world: World, device: torch.device) -> None:
    """BatchNorm's running statistics of the first process to all: those that are saved."""
    for name, buffer in model.named_buffers():
        # NCCL sends nothing that lies elsewhere, and gloo would hide it.
        assert buffer.device == device, f"{name} is on {buffer.device}, the run on {device}"
        if world.size > 1:
            distributed.broadcast(buffer, 0)
