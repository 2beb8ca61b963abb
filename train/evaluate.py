"""Top-1 and top-5 of a model over a split. B samples, C classes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from shared.images import ImageSource
from shared.loader import Draw, PixelLoader, Request
from shared.models import StagedResNet
from shared.normalise import Normalisation


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2,) float32 on the device: how many of B are right in the first 1 and the first 5 places."""
    places = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = places == labels[:, None]
    return torch.stack([hits[:, 0].sum(), hits.sum()]).float()


def center_requests(source: ImageSource, position: int, batch_size: int) -> Iterator[Request]:
    """The whole source in order, centre views; `position` among the loader's sources."""
    for start in range(0, len(source), batch_size):
        index = np.arange(start, min(start + batch_size, len(source)))
        yield Request(position, index, Draw("center", seed=0, number=0))


@torch.no_grad()
def evaluate(
    model: StagedResNet,
    loader: PixelLoader,
    position: int,
    source: ImageSource,
    normalisation: Normalisation,
    batch_size: int,
    device: torch.device,
) -> tuple[float, float]:
    """(top-1, top-5) in percent, in eval mode; images that do not decode count as wrong."""
    was_training = model.training
    model.eval()
    labels = torch.from_numpy(source.labels)
    right = torch.zeros(2, device=device)
    for batch in loader.batches(center_requests(source, position, batch_size)):
        logits, _ = model(normalisation(batch.pixels.to(device, non_blocking=True)))
        answers = labels[batch.index].to(device)
        for row, _ in batch.bad:
            answers[row] = -1
        right += correct(logits.float(), answers)
    model.train(was_training)
    top1, top5 = (100 * right / len(source)).tolist()
    return top1, top5
