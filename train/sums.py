"""Sums losses and hits over the steps of an epoch on the device; means of them for the log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared.distributed import World, sum_over
from train.accuracy import correct
from train.batch import Batch
from train.recipe import Recipe


def step_sums(recipe: Recipe, batch: Batch, logits: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
    """(terms + 4,) float64 on the device, to be added up over steps and processes.

    Each loss term is multiplied by the number of samples in its mean, all or guided. Then follow
    the top-1 and top-5 hits, the number of samples and the number of guided samples.
    """
    sums = [losses[term.name] * batch.divisor(term.loss.needs) for term in recipe.terms]
    hits = correct(logits.float(), batch.main_labels)
    counts = [hits.new_zeros(()) + count for count in (batch.count, batch.guided_count)]
    return torch.stack([*sums, *hits, *counts]).double()


def means(sums: Tensor, recipe: Recipe, epoch: int, world: World) -> dict[str, Any]:
    """The means over all steps so far and the samples of all processes, as in metrics.jsonl:

        {"loss": {term: mean}, "weight": {term: w}, "total": their weighted sum,
         "top1": percent, "top5": percent, "samples": their number}

    A guided term is a mean over the guided samples; 0 if there are none.
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
