"""Epochs that replay views on the source's images, with targets from the cache."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import with_pixels_on
from shared.epochs.batch import EpochBatch
from shared.epochs.cached_views import CachedViews
from shared.epochs.class_mix import class_mix
from shared.epochs.options import FeedOptions
from shared.epochs.order import process_share, share_sizes
from shared.epochs.val_batches import Labelled, image_batches, pixel_loader
from shared.epochs.whole_batch import batch_of_live, with_partners
from shared.epochs.windows import Epochs
from shared.errors import InputError, note
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, Replay, Request
from shared.store.opening import Cache

LEAST_MIX = (
    0.9  # a note is printed if batches have less than this share of a full shuffle's classes
)


class Replayed:
    def __init__(self, options: FeedOptions) -> None:
        assert options.train is not None, "views are replayed on images"
        assert not isinstance(options.val, Cache)
        self._options = options
        self._source, self._val = options.train, options.val
        self.val_world = options.world
        self.val_rows = min(options.own_rows, len(self._val or ()))
        # One set of workers for both splits.
        self._loader = pixel_loader(options, *filter(None, (self._source, self._val)))
        self._loader.start()  # before a view is loaded, whose memory workers would inherit
        self._labels = torch.from_numpy(self._source.labels)
        self._samples = np.arange(len(self._source))
        self._views = None
        cache, wanted = options.cache, options.wanted
        if cache is not None:
            self._skipped = frozenset(index for index, _, _ in cache.skipped())
            self._samples = np.delete(self._samples, sorted(self._skipped))
        self._epochs = Epochs(
            cache.manifest if cache else None,
            self._samples,
            # With a live teacher they are the same, so that both are trained on the same batches.
            cache.manifest.encoding.needed(wanted.kinds) if cache else [],
            wanted.batch_size,
            options.seed,
        )
        self.layout: list[int] = self._epochs.layout
        self._plan = lru_cache(3)(self._epochs.plan)  # this epoch's, the next's, the last one's
        self._note_mix()
        if cache is not None:
            self._views = CachedViews(
                *(cache, wanted, self._labels, options.cached, options.device, self._plan),
                *(options.with_index, options.world, options.stage, options.connected),
            )

    def _note_mix(self) -> None:
        """Tells if batches are less mixed than a full shuffle's, where a view is read in pieces."""
        if self._epochs.piece_rows is None or not self._options.world.is_first:
            return
        if (mix := class_mix(self._plan(0), self._source.labels)) < LEAST_MIX:
            note(
                f"the targets of this recipe do not fit into memory, so samples are shuffled "
                f"within a window that slides over the cache, and a batch has {mix:.0%} of the "
                f"classes that one of a full shuffle has; make the cache with precompute/run.py "
                f"--format webdataset, whose blocks are mixed"
            )

    def steps(self, epoch: int) -> int:
        return self._epochs.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._epochs.smallest_part(epoch, self._options.world.size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, EpochBatch]]:
        options, views = self._options, self._views
        steps = self._plan(epoch).steps
        if views is not None:
            views.begin(epoch, first)
        pixel_batches = self._loader.batches(self._requests(epoch, first))
        on_device = with_pixels_on(options.device, self._decoded(pixel_batches))
        for step, (batch, pixels) in enumerate(on_device, first):
            if views is not None and options.cached:
                found = views.batch(step, batch.index)
            else:
                sizes = share_sizes(steps[step], options.world)
                labels = self._labels[batch.index]
                found = batch_of_live(options, pixels, labels, batch.index, sizes)
            if views is not None:
                views.done(step)
            partner = None if batch.partner is None else self._labels[batch.partner]
            yield pixels, with_partners(found, partner, batch.share)

    def _requests(self, epoch: int, first: int) -> Iterator[Request]:
        """Requests for stored boxes; without a cache, for views drawn newly in every epoch."""
        options = self._options
        draw = Draw(options.policy, options.seed, epoch)
        for number, step in enumerate(self._plan(epoch).steps[first:], first):
            index = process_share(step, options.world)
            yield Request(0, index, self._replay(epoch, number, index) if self._views else draw)

    def _replay(self, epoch: int, step: int, index: NDArray[np.int64]) -> Replay:
        options = self._options
        assert options.cache is not None and self._views is not None
        manifest = options.cache.manifest
        return Replay(
            options.policy,
            *self._views.boxes(step, index),
            manifest.seed,
            epoch % manifest.views,
            self._skipped if options.policy.mixes else frozenset(),
        )

    def _decoded(self, batches: Iterator[PixelBatch]) -> Iterator[PixelBatch]:
        for batch in batches:
            if batch.bad:
                row, reason = batch.bad[0]
                raise does_not_decode(self._source, int(batch.index[row]), reason)
            yield batch

    def val_batches(self) -> Iterator[Labelled]:
        assert self._val is not None
        return image_batches(
            self._loader,
            1,
            self._val,
            self.val_rows,
            self.val_world,
            self._options.val_policy,
        )

    def close(self) -> None:
        self._loader.close()
        if self._views is not None:
            self._views.close()


def does_not_decode(source: ImageSource, index: int, reason: str) -> InputError:
    return InputError(
        f"{source.keys[index]} in {source.spec} does not decode ({reason}): repair or remove it, "
        f"or make a cache with precompute/run.py --skip-bad and train from that"
    )
