"""One optimizer step. The loop, the proof that cached equals live and the benchmarks all use it."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from train.batch import Batch, StudentOutputs
from train.recipes import Recipe


def train_step(
    student: nn.Module,
    optimizer: Optimizer,
    recipe: Recipe,
    weights: dict[str, float],
    x: Tensor,
    batch: Batch,
    precision: str,
) -> tuple[StudentOutputs, list[Tensor]]:
    """Forward, losses, backward, step on normalised x (B, 3, H, W).

    Returns the outputs and the losses: one a term, unweighted, then the weighted total. A term of
    weight 0 stays in the graph, as in the paper's code: weight decay and momentum then act on the
    head from the start.
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs: StudentOutputs = student(x)
    losses = [term.loss(outputs, batch) for term in recipe.terms]
    weighted = [weights[term.name] * loss for term, loss in zip(recipe.terms, losses, strict=True)]
    total = torch.stack(weighted).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return outputs, [*losses, total]
