"""Serves cached targets to a training loop, from memory that the processes of a machine share.

    cache --pieces, threads of one process--> slots in shared memory (staging/), or copies of
          them on the GPU if two views fit into a quarter of its memory
          --index_select by slot--> fields of a batch on the device --codec.decode--> Targets

Loader workers do not use zarr, and no step makes the host wait for the device. The guided mask is
computed once per view, from the stored argmax and the label.

Shapes: N samples in the split, B in a batch.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import moved
from shared.distributed import World
from shared.epochs.batch import EpochBatch
from shared.epochs.guide import guided_mask
from shared.epochs.options import Wanted
from shared.epochs.order import share_sizes
from shared.epochs.staging.schedule import Plans, Samples
from shared.epochs.staging.views import StagedViews
from shared.store.opening import Arrays, Cache
from shared.targets.targets import Head, Targets, rows_of


class CachedViews:
    def __init__(
        self,
        cache: Cache,
        wanted: Wanted,
        labels: Tensor,
        use_targets: bool,
        device: torch.device,
        plans: Plans,
        with_index: bool = False,
        world: World | None = None,
        folder: Path | None = None,
        connected: World | None = None,
    ) -> None:
        """Without `use_targets` it reads only boxes and flips: for a live teacher, or none.

        `plans`: the plan of each epoch. `with_index`: whether batches have the samples' index.
        `folder`: for the file that the processes of a machine share. `connected`: the processes
        that this one can communicate with; None: all of `world`. Raises InputError if there is no
        room for the file.
        """
        world = world or World()
        self._device = device
        self._cache = cache
        self._labels = labels
        self._with_index = with_index
        self._world = world
        self._encoding = cache.manifest.encoding
        self._fields = self._encoding.needed(wanted.kinds) if use_targets else []
        self._reads_logits = wanted.reads_logits
        self._guide = wanted.guide if use_targets else None
        self._heads: dict[torch.device, Head | None] = {}
        mask = None if self._guide is None else self._mask
        self._views = StagedViews(
            *(cache, self._fields, mask, plans, wanted.epochs, device, world, folder),
            world if connected is None else connected,
        )

    def begin(self, epoch: int, first: int = 0) -> None:
        """Goes to step `first` of an epoch. Reading goes on without a pause if the epoch follows.

        All processes of the run call it with the same numbers.
        """
        self._views.begin(epoch, first)

    def boxes(self, step: int, index: Samples) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(B, 4) boxes and (B,) flips of samples of a step. Waits until they have been read."""
        return self._views.boxes(step, index)

    def batch(self, step: int, index: Tensor) -> EpochBatch:
        """The batch of the B samples `index` of a step, on the device.

        Waits until they have been read. The counts by which means divide are those of all samples
        of the step: guided ones are counted in host memory, without communication.
        """
        rows = self._views.rows(step, index)
        whole = self._views.samples(step)
        guided, guided_count = None, 0.0
        if self._guide is not None:
            mask = self._views.guided
            guided = moved(torch.from_numpy(mask[index.numpy()]), self._device)
            guided_count = int(mask[whole].sum()) / self._world.size
        return EpochBatch(
            labels=moved(self._labels.index_select(0, index), self._device),
            targets=self._decode(rows) if rows else None,
            guided=guided,
            count=len(whole) / self._world.size,
            guided_count=guided_count,
            index=moved(index, self._device) if self._with_index else None,
            sizes=share_sizes(whole, self._world),
        )

    def done(self, step: int) -> None:
        """Tells that this process has all that it needs for a step, and for those before it."""
        self._views.done(step)

    def close(self) -> None:
        self._views.close()

    def _mask(self, arrays: Arrays, samples: slice) -> NDArray[np.bool_]:
        """(n,) bool: the guided mask of a piece."""
        assert self._guide is not None
        fields = {name: torch.from_numpy(arrays[name]) for name in self._fields}
        found: NDArray[np.bool_] = guided_mask(
            self._guide,
            torch.from_numpy(arrays["pred"]).long(),
            lambda part: self._decode(rows_of(fields, part))["logits"],
            self._labels[samples],
        ).numpy()
        return found

    def _decode(self, fields: dict[str, Tensor]) -> Targets:
        device = next(iter(fields.values())).device
        if device not in self._heads:
            head = self._cache.head() if self._reads_logits else None
            self._heads[device] = None if head is None else head.to(device)
        return self._encoding.decode(fields, self._heads[device])
