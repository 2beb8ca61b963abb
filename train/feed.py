"""Targets to the training loop: a view's arrays in host memory, the next view's on their way.

    cache --whole shards, background thread--> arrays of one view (stored dtype)
          --index_select by sample--> fields of a batch --to the device--> codec.decode --> Targets

Nothing is read row by row, and zarr is never touched in a loader worker. The guided mask is made
here, once a view, from the stored argmax and the label. Shapes: N samples, B of a batch.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.codecs import CODECS
from shared.distributed import World, sum_over
from shared.store.cache import Cache
from shared.targets import Head, Targets
from train.batch import Batch
from train.recipes import Recipe


@dataclass(frozen=True)
class LoadedView:
    box: NDArray[np.int32]  # (N, 4)
    flip: NDArray[np.bool_]  # (N,)
    fields: dict[str, Tensor]  # (N, width) each, of those that the recipe needs
    guided: Tensor | None  # (N,) bool


class CachedViews:
    def __init__(self, cache: Cache, recipe: Recipe, labels: Tensor, use_targets: bool) -> None:
        """Without `use_targets` only boxes are read: for a live teacher or none."""
        self._cache = cache
        self._recipe = recipe
        self._labels = labels
        self._fields = CODECS[cache.manifest.codec].needed(recipe.needs) if use_targets else []
        self._guide = recipe.guide if use_targets else None
        self._heads: dict[torch.device, Head | None] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="views")
        self._loaded: dict[int, Future[LoadedView]] = {}

    def load(self, epoch: int) -> LoadedView:
        """The view of an epoch (epoch mod K); waits until it is in memory."""
        return self.prefetch(epoch).result()

    def prefetch(self, epoch: int) -> Future[LoadedView]:
        """Starts reading an epoch's view; keeps at most it and the one asked for before."""
        view = epoch % self._cache.manifest.views
        if view not in self._loaded:
            self._loaded = dict(list(self._loaded.items())[-1:])
            self._loaded[view] = self._reader.submit(self._read, view)
        return self._loaded[view]

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _read(self, view: int) -> LoadedView:
        names = ["box", "flip", *self._fields, *(["pred"] if self._guide else [])]
        arrays = self._cache.read_view(view, names)
        fields = {name: torch.from_numpy(arrays[name]) for name in self._fields}
        guided = None
        if self._guide is not None:
            pred = torch.from_numpy(arrays["pred"]).long()
            guided = self._guide(pred, lambda: self._decode(fields).logits, self._labels)
        return LoadedView(
            box=arrays["box"].astype(np.int32, copy=False),
            flip=arrays["flip"].astype(bool, copy=False),
            fields=fields,
            guided=guided,
        )

    def _decode(self, fields: dict[str, Tensor]) -> Targets:
        manifest = self._cache.manifest
        device = next(iter(fields.values())).device
        if device not in self._heads:
            head = self._cache.head()
            self._heads[device] = None if head is None else head.to(device)
        codec = CODECS[manifest.codec]
        return codec.decode(fields, manifest.teacher.channels, self._heads[device])

    def batch(
        self, view: LoadedView, index: Tensor, whole: Tensor, world: World, device: torch.device
    ) -> Batch:
        """Labels, Targets and mask of B samples, on the device.

        `whole` are the samples of all processes in this step: what the means divide by follows from
        the mask in host memory, and no process need ask another.
        """
        on_device = _to(device)
        fields = {
            name: on_device(rows.index_select(0, index)) for name, rows in view.fields.items()
        }
        guided = None if view.guided is None else view.guided.index_select(0, index)
        return Batch(
            labels=on_device(self._labels.index_select(0, index)),
            targets=self._decode(fields) if fields else None,
            guided=None if guided is None else on_device(guided),
            count=len(whole) / world.size,
            guided_count=0.0
            if view.guided is None
            else int(view.guided.index_select(0, whole).sum()) / world.size,
        )


def live_batch(
    targets: Targets | None, recipe: Recipe, labels: Tensor, world: World, device: torch.device
) -> Batch:
    """The same Batch from a live teacher's Targets (on the device), or from none."""
    labels = _to(device)(labels)
    guided = None
    if targets is not None and recipe.guide is not None:
        logits = targets.logits
        guided = recipe.guide(logits.argmax(1), lambda: logits, labels)
    return counted_batch(labels, targets, guided, world)


def counted_batch(
    labels: Tensor, targets: Targets | None, guided: Tensor | None, world: World
) -> Batch:
    """A Batch whose counts the processes add up, each knowing only its own."""
    counts = torch.tensor([len(labels), 0 if guided is None else int(guided.sum())])
    count, guided_count = (sum_over(counts.to(labels.device), world) / world.size).tolist()
    return Batch(labels, targets, guided, count, guided_count)


def _to(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Pinned and asynchronous towards a GPU; nothing at all on the CPU."""
    if device.type != "cuda":
        return lambda tensor: tensor.to(device)
    return lambda tensor: tensor.pin_memory().to(device, non_blocking=True)
