"""Serves cached targets to the training loop: loads one view at a time, and prefetches the next.

    cache --whole shards, background thread--> arrays of one view (stored dtype), on the GPU if
          there is one and two views fit into a quarter of its memory, else in host memory
          --index_select by sample--> fields of a batch on the device --codec.decode--> Targets

Shards are read whole, not row by row. Loader workers do not use zarr, and no step makes the host
wait for the device. The guided mask is computed once per view, from the stored argmax and the
label.

Shapes: N samples in the split, n in a LoadedView, B in a batch.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.cache.opening import Cache
from shared.device import make_current, moved
from shared.distributed import World
from shared.targets.codecs import num_bytes
from shared.targets.targets import Head, Targets
from train.batch import NOTHING, Batch, Fixed
from train.guide import Guide
from train.order import share_sizes
from train.recipe import Recipe
from train.view_home import home_of_views, moved_aside
from train.windows import MOST_BYTES

GUIDE_ROWS = 8192  # samples per call when the guided mask is computed
Blocks = tuple[int, ...] | None  # None: the whole view


@dataclass(frozen=True)
class LoadedView:
    """The data of a view, or of some of its blocks; n samples."""

    box: NDArray[np.int32]  # (n, 4)
    flip: NDArray[np.bool_]  # (n,)
    rows: dict[str, Tensor]  # (n, ...) each: labels, guided and the recipe's fields
    guided: Tensor | None  # (n,) bool, in host memory
    place: NDArray[np.int64] | None = None  # (N,) sample -> row; None: row i is sample i

    def at(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the given samples."""
        return index if self.place is None else self.place[index]


class CachedViews:
    def __init__(
        self,
        cache: Cache,
        recipe: Recipe,
        labels: Tensor,
        use_targets: bool,
        device: torch.device,
        fixed: Fixed = NOTHING,
    ) -> None:
        """Without `use_targets` it reads only boxes and flips: for a live teacher, or none.

        `fixed`: what losses need that is the same in every step, for the batches.
        """
        self._device = device
        self._cache = cache
        self._recipe = recipe
        self._labels = labels
        self._fixed = fixed
        self._encoding = cache.manifest.encoding
        self._fields = self._encoding.needed(recipe.needs) if use_targets else []
        self._guide = recipe.guide if use_targets else None
        self._heads: dict[torch.device, Head | None] = {}
        self._home = home_of_views(device, self._num_bytes())  # device that stores the rows
        # The current GPU of a new thread is the first one, not that of the thread that starts it.
        # Without this, every process would take memory on the first GPU.
        prepare = partial(make_current, device)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="views", initializer=prepare)
        self._loaded: dict[tuple[int, Blocks], Future[LoadedView]] = {}

    @property
    def row_bytes(self) -> int:
        """Stored bytes per sample of the targets that the recipe uses.

        With a live teacher the value is the same, so that both are trained on the same batches.
        """
        fields = self._encoding.fields()
        used = self._encoding.needed(self._recipe.needs)
        return num_bytes({name: fields[name] for name in used})

    def load(self, epoch: int, blocks: Blocks = None) -> LoadedView:
        """The view of an epoch (epoch mod K), or some of its blocks. Waits until it is loaded."""
        return self.prefetch(epoch, blocks).result()

    def prefetch(self, epoch: int, blocks: Blocks = None) -> Future[LoadedView]:
        """Starts loading an epoch's view. Keeps this one and the one requested before it."""
        wanted = epoch % self._cache.manifest.views, blocks
        if wanted not in self._loaded:
            self._loaded = dict(list(self._loaded.items())[-1:])
            self._loaded[wanted] = self._reader.submit(self._read, *wanted)
        return self._loaded[wanted]

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _read(self, view: int, blocks: Blocks) -> LoadedView:
        names = ["box", "flip", *self._fields, *(["pred"] if self._guide else [])]
        place, labels = None, self._labels
        if blocks is None:
            arrays = self._cache.read_view(view, names)
        else:
            parts = [self._cache.read_block(view, block, names) for block in blocks]
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in names}
            index = np.concatenate([self._cache.manifest.samples_of(block) for block in blocks])
            place = np.full(len(labels), -1, np.int64)
            place[index] = np.arange(len(index))
            labels = labels[torch.from_numpy(index)]
        rows = {name: torch.from_numpy(arrays[name]) for name in self._fields}
        guided = None
        if self._guide is not None:
            pred = torch.from_numpy(arrays["pred"]).long()
            guided = self._mask(self._guide, pred, rows, labels)
            rows["guided"] = guided
        rows["labels"] = labels
        return LoadedView(
            box=arrays["box"].astype(np.int32, copy=False),
            flip=arrays["flip"].astype(bool, copy=False),
            rows=moved_aside(rows, self._home),
            guided=guided,
            place=place,
        )

    def _mask(
        self, guide: Guide, pred: Tensor, fields: dict[str, Tensor], labels: Tensor
    ) -> Tensor:
        """(n,) bool: the guided mask.

        Computed in parts, because the derived logits of a whole view may take gigabytes.
        """
        masks = []
        for start in range(0, len(pred), GUIDE_ROWS):
            part = slice(start, start + GUIDE_ROWS)
            some = {name: values[part] for name, values in fields.items()}
            masks.append(guide(pred[part], partial(self._logits, some), labels[part]))
        return torch.cat(masks)

    def _logits(self, fields: dict[str, Tensor]) -> Tensor:
        return self._decode(fields)["logits"]

    def _num_bytes(self) -> int:
        """Bytes that the rows of one view, or of one window, take in memory."""
        samples = min(self._cache.manifest.samples, MOST_BYTES // (self.row_bytes + 9))
        return samples * (self.row_bytes + 9)  # label and mask

    def _decode(self, fields: dict[str, Tensor]) -> Targets:
        device = next(iter(fields.values())).device
        if device not in self._heads:
            head = self._cache.head()
            self._heads[device] = None if head is None else head.to(device)
        return self._encoding.decode(fields, self._heads[device])

    def batch(self, view: LoadedView, index: Tensor, whole: Tensor, world: World) -> Batch:
        """The batch of the B samples `index`, on the device.

        `whole` are the samples of all processes in this step. They give the counts by which means
        divide: guided samples are counted in the mask in host memory, without communication.
        """
        places = moved(torch.from_numpy(view.at(index.numpy())), self._home)
        rows = {
            name: moved(values.index_select(0, places), self._device)
            for name, values in view.rows.items()
        }
        labels, guided = rows.pop("labels"), rows.pop("guided", None)
        guided_count = 0.0
        if view.guided is not None:
            rows_of_all = torch.from_numpy(view.at(whole.numpy()))
            guided_count = int(view.guided.index_select(0, rows_of_all).sum()) / world.size
        return Batch(
            labels=labels,
            targets=self._decode(rows) if rows else None,
            guided=guided,
            count=len(whole) / world.size,
            guided_count=guided_count,
            fixed=self._fixed,
            index=moved(index, self._device),
            world=world,
            sizes=share_sizes(whole.numpy(), world),
        )
