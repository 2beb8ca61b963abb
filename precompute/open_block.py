"""The block of one view while it is made: collects its rows batch by batch, then gives the block.

Everything is copied out of the batches, because what comes from loader workers lies in shared
memory and keeps a file open. Of the pixels only two checksums are kept, for the receipt.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from precompute.job import Job
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.records.block import Arithmetic, Block, Work, sha256
from shared.targets.encoding import Fields


class OpenBlock:
    def __init__(self, job: Job, work: Work) -> None:
        self.work = work
        self.kinds = [kind for layer in work.layers for kind in job.manifest.kinds_of(layer)]
        self._job = job
        self._samples = job.manifest.samples_of(work.block)
        rows = len(self._samples)
        self._seen = 0  # rows
        self._said = 0
        self._box = np.empty((rows, 4), np.int32)
        self._flip = np.empty(rows, bool)
        self._images: list[bytes] = []
        self._mixed: list[tuple[int, float]] = []
        self._bad: dict[int, str] = {}  # sample -> reason
        self._checksums: dict[int, str] = {}  # sample -> sha256 of its pixels
        self._pred = np.empty(rows, np.int32)
        self._fields: Fields = {}

    def see(self, batch: PixelBatch) -> None:
        """Adds the next rows, which the teacher sees a little later."""
        index, rows = batch.index.tolist(), slice(self._seen, self._seen + len(batch.index))
        self._box[rows], self._flip[rows] = batch.box.numpy(), batch.flip.numpy()
        self._images += batch.images
        if batch.partner is not None and batch.share is not None:
            partners = self._job.source.labels[batch.partner.numpy()].tolist()
            self._mixed += zip(partners, batch.share.tolist(), strict=True)
        bad = dict(batch.bad)
        self._bad.update((index[row], reason) for row, reason in batch.bad)
        for row, sample in enumerate(index):
            middle = self._seen + row == len(self._samples) // 2
            if row not in bad and (middle or not self._checksums):
                self._checksums[sample] = sha256(batch.pixels[row].numpy().tobytes())
        self._seen = rows.stop

    def hear(self, fields: Fields, pred: NDArray[np.int32]) -> None:
        """Adds what the teacher says of the next rows."""
        rows = slice(self._said, self._said + len(pred))
        self._pred[rows] = pred
        for name, values in fields.items():
            if name not in self._fields:
                self._fields[name] = np.empty((len(self._pred), *values.shape[1:]), values.dtype)
            self._fields[name][rows] = values
        self._said = rows.stop

    def finish(self, arithmetic: Arithmetic) -> Iterator[Block]:
        """The block and its layers, those that are wanted, in order."""
        manifest, source = self._job.manifest, self._job.source
        samples = self._samples.tolist()
        assert self._seen == self._said == len(samples)
        with_keys = manifest.holds_pixels and manifest.format_version > 1
        pixels = self._pixels([index for index in samples if index not in self._bad])
        for layer in self.work.layers:
            names = manifest.encoding.fields(manifest.kinds_of(layer))
            yield Block(
                view=self.work.view,
                index=self.work.block,
                fields={name: self._fields[name] for name in names},
                box=self._box,
                flip=self._flip,
                pred=self._pred,
                label=source.labels[self._samples],
                images=tuple(self._images),
                keys=tuple(source.keys[index] for index in samples) if with_keys else (),
                pixels=pixels,
                skipped=tuple((index, source.keys[index], why) for index, why in self._bad.items()),
                arithmetic=arithmetic,
                layer=layer,
                mixed=tuple(self._mixed),
            )

    def _pixels(self, good: list[int]) -> dict[int, str]:
        """Sample -> checksum, for the first and the middle one of the samples that decode."""
        wanted = dict.fromkeys([good[0], good[len(good) // 2]]) if good else {}
        return {index: self._checksums.get(index) or self._checksum(index) for index in wanted}

    def _checksum(self, index: int) -> str:
        """Draws the view again, where samples that do not decode have moved the middle."""
        source, manifest = self._job.source, self._job.manifest
        loader = PixelLoader((source,), manifest.size, 0, False, as_jpeg=manifest.holds_pixels)
        draw = Draw(manifest.view_policy, manifest.seed, self.work.view)
        (batch,) = loader.batches([Request(0, np.array([index]), draw)])
        return sha256(batch.pixels[0].numpy().tobytes())
