"""One optimizer step, used by the loop, the test that cached equals live, and the benchmarks."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from shared.distributed import without_exchange
from train.batch import Batch, StudentOutputs
from train.recipe import Recipe

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The autocast context for a --precision, in training and evaluation."""
    dtype = AUTOCAST[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def train_step(
    student: nn.Module,
    optimizer: Optimizer,
    recipe: Recipe,
    weights: dict[str, float],
    x: Tensor,
    batch: Batch,
    precision: str,
    scaler: GradScaler | None = None,
    parts: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Forward, losses, backward and optimizer step on normalised x (B, 3, H, W).

    With `parts` > 1 the batch is processed in that many pieces, to save memory. The gradients add
    up to those of the whole batch, because losses divide by its counts; only BatchNorm sees one
    piece at a time. `scaler` protects fp16 gradients from underflow.

    Returns the logits (B, C), detached, and the unweighted losses by name of the term, with their
    weighted sum as "total". A term of weight 0 stays in the graph, as in the paper's code, so that
    weight decay and momentum act on the head from the start.
    """
    optimizer.zero_grad(set_to_none=True)
    batches = batch.split(parts) if parts > 1 else [batch]
    pieces = x.split([len(piece.labels) for piece in batches])
    logits, sums = [], []
    for position, (piece, answers) in enumerate(zip(pieces, batches, strict=True)):
        last = position == len(batches) - 1
        with nullcontext() if last else without_exchange(student):
            with autocast(x.device, precision):
                outputs: StudentOutputs = student(piece, answers.targets)
            losses = {term.name: term.loss(outputs, answers) for term in recipe.terms}
            weighted = [weights[name] * loss for name, loss in losses.items()]
            total = torch.stack(weighted).sum()
            (total if scaler is None else scaler.scale(total)).backward()
        logits.append(outputs.logits.detach())
        sums.append(torch.stack([*losses.values(), total]).detach())
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    whole = torch.stack(sums).sum(0)
    return torch.cat(logits), dict(zip([*losses, "total"], whole, strict=True))
