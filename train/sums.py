"""What the steps of an epoch add up to: sums on the device, and the means that a log shows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared.distributed import World, sum_over
from train.accuracy import correct
from train.batch import Batch
from train.recipe import Recipe


def step_sums(recipe: Recipe, batch: Batch, logits: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
    """float64 on the device, to be added up over steps and processes: each term over the samples
    that it is a mean of, hits (top-1, top-5) over all; then all and guided samples."""
    sums = [losses[term.name] * batch.divisor(term.loss.needs) for term in recipe.terms]
    hits = correct(logits.float(), batch.labels)
    counts = [hits.new_zeros(()) + count for count in (batch.count, batch.guided_count)]
    return torch.stack([*sums, *hits, *counts]).double()


def means(sums: Tensor, recipe: Recipe, epoch: int, world: World) -> dict[str, Any]:
    """What the steps so far amount to, over all processes' samples, as metrics.jsonl has it:

        {"loss": {term: mean}, "weight": {term: w}, "total": their weighted sum,
         "top1": percent, "top5": percent, "samples": their number}

    A guided term is a mean over the guided samples, 0 where there were none.
    """
    *values, samples, guided = sum_over(sums, world).tolist()
    counts = [guided if "guided" in term.loss.needs else samples for term in recipe.terms]
    counts += [samples] * 2  # top-1, top-5
    *terms, top1, top5 = (value / n if n else 0.0 for value, n in zip(values, counts, strict=True))
    weights = recipe.weights(epoch)
    losses = dict(zip(weights, terms, strict=True))
    return {
        "loss": losses,
        "weight": weights,
        "total": sum(weights[name] * mean for name, mean in losses.items()),
        "top1": 100 * top1,
        "top5": 100 * top5,
        "samples": int(samples),
    }
