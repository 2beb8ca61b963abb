"""What the epochs of a run are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from shared.epochs.guide import Guide
from shared.images.source import ImageSource
from shared.pixels.view import ViewPolicy
from shared.store.opening import Cache
from shared.targets.teacher import Teacher
from shared.world import World


class Wanted(Protocol):
    """What a batch shall have of the teacher, and how many samples. Recipes are such."""

    @property
    def kinds(self) -> frozenset[str]:
        """Of targets, by their names in shared/targets/kinds.py."""
        ...

    @property
    def reads_logits(self) -> bool:
        """Whether logits are read, which may be costly to derive."""
        ...

    @property
    def guide(self) -> Guide | None: ...

    @property
    def epochs(self) -> int:
        """Nothing is read for epochs from this one on."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples per step, over all processes."""
        ...


@dataclass(frozen=True)
class FeedOptions:
    wanted: Wanted
    cache: Cache | None  # None: views are drawn newly in every epoch
    train: ImageSource | None  # None if the cache stores the views' pixels
    val: ImageSource | Cache | None  # images, or a cached split with view shards; None: no val
    policy: ViewPolicy  # of the training views
    val_policy: ViewPolicy  # of val images that no cache holds
    size: int  # side of a view in pixels
    cached: bool  # whether targets come from the cache
    teacher: Teacher | None  # a live teacher, which they come from otherwise
    seed: int
    device: torch.device  # where batches are wanted
    workers: int
    world: World  # the processes that share every step
    connected: World  # those of them that this one can communicate with; World() if none
    stage: Path | None = None  # where the processes of a machine share targets; None: chosen
    with_index: bool = False  # whether batches have the samples' index

    @property
    def own_rows(self) -> int:
        """Samples in the largest batch of a process."""
        return -(-self.wanted.batch_size // self.world.size)
