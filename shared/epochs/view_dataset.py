"""One view of every image as a map-style dataset, for torch's own DataLoader.

Targets of the view lie in memory as they are stored; pixels are made when a sample is asked for:
the stored box is replayed on the image, or the JPEG of the view is read from its shard.

Shapes: N samples, images of S x S pixels.
"""

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from shared.epochs.guide import Guide, guided_mask
from shared.epochs.teacher_targets import TeacherTargets
from shared.errors import BadImage, InputError
from shared.formats import webdataset_format
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import PixelBatches, Replay, Request
from shared.store.labelled import added_layers, rows_of_shard
from shared.store.opening import Cache
from shared.store.receipt_checks import AGAIN
from shared.store.stored_views import now_bad, pixels_of, shard
from shared.store.view_memory import WINDOW, view_memory
from shared.targets.targets import rows_of
from shared.units import size

THREADS = 4  # that read blocks


class Pixels(Protocol):
    index: Tensor  # (N,) int64: samples by their place in the source, ascending
    labels: Tensor  # (N,) int64
    fields: dict[str, Tensor]  # (N, ...) each, as stored; and "pred"

    def __call__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """(3, S, S) uint8, and "partner" and "share" if views are mixed."""
        ...


class ViewDataset(Dataset[tuple[Tensor, int, TeacherTargets]]):
    """(pixels, label, targets) of every sample of a view, in the order of the source.

        pixels   (3, S, S) uint8: RGB, 0 to 255
        label    int
        targets  a TeacherTargets of this sample: a batch of them has a first dimension more

    Images that precompute skipped are left out. It can be sent to workers that are forked or
    spawned; they share its memory.
    """

    def __init__(
        self,
        cache: Cache,
        source: ImageSource | None,
        view: int,
        kinds: frozenset[str],
        guide: Guide | None,
    ) -> None:
        """Reads the targets of the view, and checks their hashes. Raises InputError if a block is
        damaged, or they are too large for memory."""
        needed = view_memory(cache.manifest, kinds)
        if needed.view > WINDOW:
            raise InputError(
                f"a view of {cache.where} has {size(needed.view)} of these targets, too much to "
                f"keep in memory as a dataset does: use loader(), or name fewer kinds of targets"
            )
        self.view = view
        self._encoding, self._stages = cache.manifest.encoding, cache.manifest.teacher.channels
        self._head = cache.head() if "logits" in kinds else None
        names = [*self._encoding.needed(kinds), "pred"]
        self._pixels: Pixels
        if source is None:
            self._pixels = _Shards(cache, view, names)
        else:
            self._pixels = _Replayed(cache, source, view, names)
        pred = self._pixels.fields.pop("pred").long()
        self._guided = None
        if guide is not None:
            self._guided = guided_mask(guide, pred, self._logits, self._pixels.labels)

    def __len__(self) -> int:
        return len(self._pixels.index)

    def __getitem__(self, number: int) -> tuple[Tensor, int, TeacherTargets]:
        row = range(len(self))[number]
        pixels, found = self._pixels(row)
        said = self._decoded(slice(row, row + 1))
        found |= {name: values[0] for name, values in said.items()}
        found["index"] = self._pixels.index[row]
        if self._guided is not None:
            found["guided"] = self._guided[row]
        return pixels, int(self._pixels.labels[row]), TeacherTargets(found, self._stages)

    def _decoded(self, rows: slice) -> dict[str, Tensor]:
        return self._encoding.decode(rows_of(self._pixels.fields, rows), self._head)

    def _logits(self, rows: slice) -> Tensor:
        return self._decoded(rows)["logits"]


class _Replayed:
    """Views of a cache without pixels, on the images of its source."""

    def __init__(self, cache: Cache, source: ImageSource, view: int, names: Sequence[str]) -> None:
        manifest = cache.manifest
        arrays = cache.read_view(view, ["box", "flip", *names], threads=THREADS)
        self._skipped = frozenset(index for index, _, _ in cache.skipped())
        kept = np.delete(np.arange(len(source)), sorted(self._skipped))
        if self._skipped:
            arrays = {name: values[kept] for name, values in arrays.items()}
        self.index = torch.from_numpy(kept)
        self.labels = torch.from_numpy(source.labels[kept])
        self.fields = {name: torch.from_numpy(arrays[name]) for name in names}
        self._box, self._flip = (torch.from_numpy(arrays[name]) for name in ("box", "flip"))
        self._labels = torch.from_numpy(source.labels)  # of all samples
        self._cache, self._source = cache, source
        self._view, self._seed = view, manifest.seed
        self._policy = manifest.view_policy
        self._batches = PixelBatches((source,), manifest.size, as_jpeg=False)

    def __call__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = slice(row, row + 1)
        replay = Replay(
            *(self._policy, self._box[rows].numpy(), self._flip[rows].numpy()),
            *(self._seed, self._view, self._skipped if self._policy.mixes else frozenset()),
        )
        batch = self._batches.of(Request(0, self.index[rows].numpy(), replay))
        for _, reason in batch.bad:
            raise now_bad(self._cache, self._source, int(self.index[row]), BadImage(reason))
        mixed = {}
        if batch.partner is not None and batch.share is not None:
            mixed = {"partner": self._labels[batch.partner[0]], "share": batch.share[0]}
        return batch.pixels[0], mixed


class _Shards:
    """Views of a cache with pixels. A JPEG is read from its place in the shard, which was checked
    as a whole before, and compared with its checksum."""

    def __init__(self, cache: Cache, view: int, names: Sequence[str]) -> None:
        manifest = cache.manifest
        self._cache, self._view = cache, view
        layers = added_layers(manifest, names)
        found, places = [], []
        for block in range(manifest.blocks):
            samples = list(shard(cache, view, block, layers))
            found.append(rows_of_shard(manifest, samples, names))
            places += [(block, s.start, len(s.jpeg), zlib.crc32(s.jpeg)) for s in samples]
        index = torch.from_numpy(np.concatenate([rows.index for rows in found]))
        order = index.argsort()
        self.index = index[order]
        self.labels = torch.from_numpy(np.concatenate([rows.labels for rows in found]))[order]
        self.fields = {
            name: torch.cat([rows.fields[name] for rows in found])[order] for name in names
        }
        self._places = torch.tensor(places).reshape(-1, 4)[order]
        partner = [rows.partner for rows in found if rows.partner is not None]
        share = [rows.share for rows in found if rows.share is not None]
        self._partner = torch.from_numpy(np.concatenate(partner))[order] if partner else None
        self._share = torch.from_numpy(np.concatenate(share)).float()[order] if share else None

    def __call__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        block, start, length, checksum = self._places[row].tolist()
        path = webdataset_format.shard_path(self._view, block)
        jpeg = self._cache.files.read_range(path, start, start + length)
        index = int(self.index[row])
        if zlib.crc32(jpeg) != checksum:
            raise InputError(
                f"{path} in {self._cache.where} has changed since it was checked: sample {index} "
                f"is another one; {AGAIN}"
            )
        mixed = {}
        if self._partner is not None and self._share is not None:
            mixed = {"partner": self._partner[row], "share": self._share[row]}
        return pixels_of(self._cache, index, jpeg), mixed
