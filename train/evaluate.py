"""Top-1 and top-5 of a model over the val split. B samples, C classes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from shared.images import ImageSource
from shared.loader import Draw, PixelLoader, Request
from shared.models import StagedResNet
from shared.normalise import Normalisation
from shared.store.stream import ShardLoader


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) float32 on the device: how many of B are right in the first 1 and the first 5 places."""
    places = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = places == labels[:, None]
    return torch.stack([hits[:, 0].sum(), hits.sum()]).float()


def image_batches(
    loader: PixelLoader, position: int, source: ImageSource, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, labels) of centre views, in order; `position` among the loader's sources.

    The label of an image that does not decode is -1: it counts as wrong.
    """
    labels = torch.from_numpy(source.labels)

    def requests() -> Iterator[Request]:
        for start in range(0, len(source), batch_size):
            index = np.arange(start, min(start + batch_size, len(source)))
            yield Request(position, index, Draw("center", seed=0, number=0))

    for batch in loader.batches(requests()):
        answers = labels[batch.index]
        for row, _ in batch.bad:
            answers[row] = -1
        yield batch.pixels, answers


def shard_batches(loader: ShardLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, labels) of a cached val split of view shards."""
    for batch in loader.batches(epoch=0):
        yield batch.pixels, batch.label


@torch.no_grad()
def evaluate(
    model: StagedResNet,
    batches: Iterator[tuple[Tensor, Tensor]],
    normalisation: Normalisation,
    device: torch.device,
) -> tuple[float, float, int]:
    """(top-1, top-5) in percent and the number of samples, in eval mode."""
    was_training = model.training
    model.eval()
    right = torch.zeros(2, device=device)
    seen = 0
    for pixels, labels in batches:
        logits, _ = model(normalisation(pixels.to(device, non_blocking=True)))
        right += correct(logits.float(), labels.to(device, non_blocking=True))
        seen += len(labels)
    model.train(was_training)
    top1, top5 = (100 * right / seen).tolist()
    return top1, top5, seen
