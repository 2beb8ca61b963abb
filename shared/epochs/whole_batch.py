"""Makes a batch from targets that are on the device, of a live teacher or of a stream."""

from dataclasses import replace

import torch
from torch import Tensor

from shared.device import moved
from shared.distributed import World, sum_over
from shared.epochs.batch import EpochBatch
from shared.epochs.options import FeedOptions, Wanted
from shared.targets.targets import Targets


def batch_of_live(
    options: FeedOptions,
    pixels: Tensor,
    labels: Tensor,
    index: Tensor,
    sizes: tuple[int, ...] | None = None,
) -> EpochBatch:
    """The batch for (B, 3, S, S) pixels on the device, with targets if there is a live teacher."""
    targets = None
    if options.teacher is not None:
        targets = options.teacher(pixels, sorted(options.wanted.kinds))
    found = live_batch(targets, options.wanted, labels, options.connected, options.device)
    on_device = moved(index, options.device) if options.with_index else None
    return replace(found, index=on_device, sizes=sizes)


def live_batch(
    targets: Targets | None, wanted: Wanted, labels: Tensor, world: World, device: torch.device
) -> EpochBatch:
    """The batch for a live teacher's Targets (on the device), or for none."""
    labels = moved(labels, device)
    guided = None
    if targets is not None and wanted.guide is not None:
        logits = targets["logits"]
        guided = wanted.guide(logits.argmax(1), lambda: logits, labels)
    return counted_batch(labels, targets, guided, world)


def counted_batch(
    labels: Tensor, targets: Targets | None, guided: Tensor | None, world: World
) -> EpochBatch:
    """A batch whose counts are summed over all processes on the device: each knows its own."""
    own = torch.zeros((), device=labels.device) if guided is None else guided.sum().float()
    counts = sum_over(torch.stack([torch.full_like(own, len(labels)), own]), world) / world.size
    return EpochBatch(labels, targets, guided, counts[0], counts[1])


def with_partners(batch: EpochBatch, partner: Tensor | None, share: Tensor | None) -> EpochBatch:
    """The batch with the second labels of mixed views and the weights of the first ones, (B,)."""
    if partner is None or share is None:
        return batch
    device = batch.labels.device
    return replace(batch, partner=moved(partner, device), share=moved(share, device))
