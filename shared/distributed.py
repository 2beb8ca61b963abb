"""Communication between the processes of a run. A single process is a world of size 1.

precompute needs only world.py, because its processes share only the storage. The processes of a
training run exchange gradients (DistributedDataParallel), sums and buffers; those of one machine
also share the memory that holds a view (shared/epochs/staging/).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import InputError, StorageError
from shared.world import World, read_world

__all__ = [
    "World",
    "any_of",
    "connect",
    "disconnect",
    "from_all",
    "from_first",
    "gathered",
    "parallel",
    "read_world",
    "share_buffers",
    "sum_over",
    "without_exchange",
]

Made = TypeVar("Made")


def connect(world: World, device: torch.device) -> None:
    """Connects the processes of a run, by NCCL between GPUs and gloo between CPUs.

    Raises InputError if two processes are on one GPU, which NCCL does not support.
    """
    if world.size > 1:
        if device.type != "cuda":
            distributed.init_process_group("gloo")
            return
        try:  # with device_id, NCCL connects at once and does not guess the GPU from the rank
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
    """`model`, wrapped so that backward passes average gradients over the processes."""
    if world.size == 1:
        return model
    for parameter in filter(lambda each: each.requires_grad, model.parameters()):
        if parameter.dim() == 4 and parameter.shape[2:] == (1, 1):
            parameter.register_hook(partial(_laid_out_as, parameter.stride()))
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def _laid_out_as(strides: tuple[int, ...], gradient: Tensor) -> Tensor:
    """A view of the gradient of a 1x1 kernel with the parameter's strides.

    For 1x1 kernels, channels first and channels last are the same order in memory, and a backend
    may return the strides of either. If they differ from the parameter's, which
    DistributedDataParallel's buckets have, every process prints a warning and copies the gradient
    element by element.
    """
    if gradient.stride() != strides and gradient.is_contiguous():
        return gradient.as_strided(gradient.shape, strides)
    return gradient


def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """A context in which backward passes accumulate gradients locally, without communication."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def any_of(flag: bool, world: World, device: torch.device) -> bool:
    """Whether `flag` is true in any process. All processes must call it. Waits for the device."""
    return (
        bool(sum_over(torch.tensor(float(flag), device=device), world)) if world.size > 1 else flag
    )


def sum_over(tensor: Tensor, world: World) -> Tensor:
    """The sum of the tensors of all processes, returned in each of them."""
    if world.size > 1:
        tensor = tensor.clone()
        distributed.all_reduce(tensor)
    return tensor


class _Gather(torch.autograd.Function):
    """The rows of all processes; see `gathered`. NCCL gathers equal shapes only, so rows are padded
    to the most that a process has."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World, sizes: tuple[int, ...]) -> Tensor:
        ctx.world, ctx.start, ctx.rows = world, sum(sizes[: world.rank]), len(rows)
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own = gradients[0][ctx.start : ctx.start + ctx.rows]
        return own * ctx.world.size, None, None


def gathered(rows: Tensor, world: World, sizes: tuple[int, ...] | None = None) -> Tensor:
    """(B, ...) of each process -> the rows of all of them, in the order of their ranks.

    All processes must call it. Gradients reach this process's rows only, times the number of
    processes, for losses that every process computes on all rows and whose gradients are then
    averaged. `sizes`: B of every process; None asks them, for which the host waits.
    """
    if world.size == 1:
        return rows
    if sizes is None:
        own = torch.tensor([len(rows)], device=rows.device)
        all_sizes = [torch.empty_like(own) for _ in range(world.size)]
        distributed.all_gather(all_sizes, own)
        sizes = tuple(int(size) for size in torch.cat(all_sizes).tolist())
    found: Tensor = _Gather.apply(rows, world, sizes)
    return found


def from_first(make: Callable[[], Made], world: World) -> Made:
    """Calls `make` in the first process only, and returns its result in all processes.

    If it raises InputError or StorageError, all processes raise it, and end with the same line.
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


def from_all(given: Made, world: World) -> list[Made]:
    """What each process gives, in the order of ranks. All processes must call it."""
    if world.size == 1:
        return [given]
    answers: list[Any] = [None] * world.size
    distributed.all_gather_object(answers, given)
    return answers


def share_buffers(model: nn.Module, world: World, device: torch.device) -> None:
    """Sends the first process's BatchNorm statistics, which are the ones saved, to all others."""
    for name, buffer in model.named_buffers():
        # NCCL cannot send tensors on another device; gloo can, and would hide the mistake.
        assert buffer.device == device, f"{name} is on {buffer.device}, the run on {device}"
        if world.size > 1:
            distributed.broadcast(buffer, 0)
