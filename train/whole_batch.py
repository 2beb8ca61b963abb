"""Makes a Batch from targets that are on the device, of a live teacher or of a stream."""

from dataclasses import replace

import torch
from torch import Tensor

from shared.device import moved
from shared.distributed import World, sum_over
from shared.targets.targets import Targets
from train.batch import NOTHING, Batch, Fixed
from train.recipe import Recipe
from train.setup import Setup


def batch_of_live(
    setup: Setup,
    pixels: Tensor,
    labels: Tensor,
    index: Tensor,
    sizes: tuple[int, ...] | None = None,
) -> Batch:
    """The batch for (B, 3, S, S) pixels on the device, with targets if there is a live teacher."""
    targets = None
    if setup.targets.teacher is not None:
        targets = setup.targets.teacher(pixels, sorted(setup.recipe.kinds))
    found = live_batch(
        targets, setup.recipe, labels, setup.world, setup.device, setup.targets.fixed
    )
    on_device = setup.targets.fixed.index_on(setup.device, index)
    return replace(found, index=on_device, sizes=sizes)


def live_batch(
    targets: Targets | None,
    recipe: Recipe,
    labels: Tensor,
    world: World,
    device: torch.device,
    fixed: Fixed = NOTHING,
) -> Batch:
    """The batch for a live teacher's Targets (on the device), or for none."""
    labels = moved(labels, device)
    guided = None
    if targets is not None and recipe.guide is not None:
        logits = targets["logits"]
        guided = recipe.guide(logits.argmax(1), lambda: logits, labels)
    return counted_batch(labels, targets, guided, world, fixed)


def counted_batch(
    labels: Tensor,
    targets: Targets | None,
    guided: Tensor | None,
    world: World,
    fixed: Fixed,
) -> Batch:
    """A Batch whose counts are summed over all processes on the device: each knows its own."""
    own = torch.zeros((), device=labels.device) if guided is None else guided.sum().float()
    counts = sum_over(torch.stack([torch.full_like(own, len(labels)), own]), world) / world.size
    return Batch(labels, targets, guided, counts[0], counts[1], fixed, world=world)


def with_partners(batch: Batch, partner: Tensor | None, share: Tensor | None) -> Batch:
    """The batch with the second labels of mixed views and the weights of the first ones, (B,)."""
    if partner is None or share is None:
        return batch
    device = batch.labels.device
    return replace(batch, partner=moved(partner, device), share=moved(share, device))
