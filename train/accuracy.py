"""Measures top-1 and top-5 of models on the val split.

Shapes: B samples, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from shared.choices import VAL_POLICY
from shared.device import moved, with_pixels_on
from shared.distributed import World, sum_over
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.shard_loader import ShardLoader
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from shared.pixels.view import ViewPolicy
from train.step import autocast


class Labelled(NamedTuple):
    """A batch of the val split on the CPU."""

    pixels: Tensor  # (B, 3, S, S) uint8, channels last
    labels: Tensor  # (B,) int64; -1: the image does not decode


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
) -> Iterator[Labelled]:
    """The centre views of `source`, number `position` of the loader's sources.

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
        yield Labelled(batch.pixels, answers)


def shard_batches(loader: ShardLoader) -> Iterator[Labelled]:
    """A cached val split with view shards."""
    for batch in loader.batches(epoch=0):
        yield Labelled(batch.pixels, batch.label)


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
    hits = torch.zeros(len(models), 2, device=device)  # right in top 1, in top 5
    counts = torch.zeros(2, device=device)  # samples, undecodable
    for batch, pixels in with_pixels_on(device, batches):
        x = normalisation(padded(pixels, rows))
        labels = moved(batch.labels, device)
        for own, model in zip(hits, models, strict=True):
            with autocast(device, precision):
                logits = model(x)
            own += correct(logits[: len(labels)].float(), labels)
        bad = (labels < 0).sum().float()
        counts += torch.stack([torch.full_like(bad, len(labels)), bad])
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    *found, (seen, bad_ones) = sum_over(torch.cat([hits, counts[None]]), world or World()).tolist()
    return [
        Accuracy(100 * first / seen, 100 * five / seen, int(seen), int(bad_ones))
        for first, five in found
    ]


def padded(pixels: Tensor, rows: int) -> Tensor:
    """(B, 3, S, S) -> at least `rows` images, the added ones black; same layout in memory."""
    missing = rows - len(pixels)
    return pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing > 0 else pixels
