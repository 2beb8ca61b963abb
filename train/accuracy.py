"""Measures top-1, top-5 and cross-entropy of models on the val split.

Shapes: B samples, C classes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from shared.device import moved, with_pixels_on
from shared.distributed import World, sum_over
from shared.epochs.val_batches import Labelled
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from train.step import autocast


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) float32 on the device: how many of B are right in the top 1 and in the top 5."""
    places = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = places == labels[:, None]
    return torch.stack([hits[:, 0].sum(), hits.sum()]).float()


@dataclass(frozen=True)
class Accuracy:
    """The result over all samples of all processes."""

    top1: float  # percent
    top5: float
    samples: int
    undecodable: int  # samples that do not decode, which count as wrong
    # Mean over the samples that decode; None if it is not finite, or if there are none of them.
    cross_entropy: float | None

    def note(self) -> str:
        return (
            f"NOTE: {self.undecodable:,} of {self.samples:,} val images do not decode and count as "
            f"wrong; repair or remove them"
        )


def evaluate(
    model: StagedModel,
    batches: Iterator[Labelled],
    normalisation: Normalisation,
    device: torch.device,
    world: World | None = None,
    precision: str = "fp32",
) -> Accuracy:
    """Evaluates `model` in eval mode, at the precision it is trained in; restores its mode."""
    (found,) = evaluate_all([model], batches, normalisation, device, world, precision)
    return found


@torch.no_grad()
def evaluate_all(
    models: Sequence[StagedModel],
    batches: Iterator[Labelled],
    normalisation: Normalisation,
    device: torch.device,
    world: World | None = None,
    precision: str = "fp32",
    rows: int = 0,
) -> list[Accuracy]:
    """Like `evaluate`, for several models on the same batches.

    Batches shorter than `rows` are padded. A compiled model then meets one shape and is not
    compiled again for the last batch. The host waits for the device at the end only.
    """
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    # Of each model: right in top 1, in top 5, cross-entropy. In the last row: samples, undecodable.
    sums = torch.zeros(len(models) + 1, 3, dtype=torch.float64, device=device)
    for batch, pixels in with_pixels_on(device, batches):
        x = normalisation(padded(pixels, rows))
        labels = moved(batch.labels, device)
        for own, model in zip(sums[:-1], models, strict=True):
            with autocast(device, precision):
                logits = model(x)
            logits = logits[: len(labels)].float()
            own[:2] += correct(logits, labels)
            own[2] += cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        sums[-1, 0] += len(labels)
        sums[-1, 1] += (labels < 0).sum()
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    *found, (seen, bad, _) = sum_over(sums, world or World()).tolist()
    return [
        Accuracy(100 * top1 / seen, 100 * top5 / seen, int(seen), int(bad), _mean(loss, seen - bad))
        for top1, top5, loss in found
    ]


def _mean(total: float, count: float) -> float | None:
    return total / count if count and math.isfinite(total) else None


def padded(pixels: Tensor, rows: int) -> Tensor:
    """(B, 3, S, S) -> at least `rows` images, the added ones black; same layout in memory."""
    missing = rows - len(pixels)
    return pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing > 0 else pixels
