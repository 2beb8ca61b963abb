"""Measures top-1 and top-5 of a model on the val split.

Shapes: B samples, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.choices import VAL_POLICY
from shared.distributed import World, sum_over
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.shard_loader import ShardLoader
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from shared.pixels.view import ViewPolicy
from train.step import autocast


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) float32 on the device: how many of B are right in the top 1 and in the top 5."""
    places = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = places == labels[:, None]
    return torch.stack([hits[:, 0].sum(), hits.sum()]).float()


def image_batches(
    loader: PixelLoader,
    position: int,
    source: ImageSource,
    batch_size: int,
    world: World | None = None,
    policy: ViewPolicy | str = VAL_POLICY,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, labels) of the centre views of `source`, number `position` of the loader's sources.

    Batches are in order; with several processes in `world` each gets a share of them. `policy` must
    have one view per image; the default gives the pixels of torchvision's evaluation transform. An
    image that does not decode has label -1 and so counts as wrong.
    """
    labels = torch.from_numpy(source.labels)

    def requests() -> Iterator[Request]:
        rank, size = (world.rank, world.size) if world else (0, 1)
        for start in range(rank * batch_size, len(source), size * batch_size):
            index = np.arange(start, min(start + batch_size, len(source)))
            yield Request(position, index, Draw(policy, seed=0, number=0))

    for batch in loader.batches(requests()):
        answers = labels[batch.index]
        for row, _ in batch.bad:
            answers[row] = -1
        yield batch.pixels, answers


def shard_batches(loader: ShardLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, labels) of a cached val split with view shards."""
    for batch in loader.batches(epoch=0):
        yield batch.pixels, batch.label


@dataclass(frozen=True)
class Accuracy:
    """The result over all samples of all processes."""

    top1: float  # percent
    top5: float
    samples: int
    undecodable: int  # samples that do not decode, which count as wrong

    def note(self) -> str:
        return (
            f"NOTE: {self.undecodable:,} of {self.samples:,} val images do not decode and count as "
            f"wrong; repair or remove them"
        )


@torch.no_grad()
def evaluate(
    model: StagedModel,
    batches: Iterator[tuple[Tensor, Tensor]],
    normalisation: Normalisation,
    device: torch.device,
    world: World | None = None,
    precision: str = "fp32",
) -> Accuracy:
    """Evaluates `model` in eval mode, at the precision it is trained in; restores its mode."""
    was_training = model.training
    model.eval()
    sums = torch.zeros(4, device=device)  # right in top 1, in top 5, samples, undecodable
    for pixels, labels in batches:
        x = normalisation(pixels.to(device, non_blocking=True))
        with autocast(device, precision):
            logits = model(x)
        labels = labels.to(device, non_blocking=True)
        right = correct(logits.float(), labels)
        bad = (labels < 0).sum()
        sums += torch.stack([*right, torch.full_like(right[0], len(labels)), bad.float()])
    model.train(was_training)
    first, five, seen, bad_ones = sum_over(sums, world or World()).tolist()
    return Accuracy(100 * first / seen, 100 * five / seen, int(seen), int(bad_ones))
