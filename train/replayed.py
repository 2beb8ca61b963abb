"""The training input that replays views on the source's images, with targets from the cache."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import with_pixels_on
from shared.errors import InputError, note
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from train.accuracy import Labelled, image_batches
from train.batch import Batch
from train.cached_views import CachedViews
from train.class_mix import class_mix
from train.order import process_share, share_sizes
from train.setup import Setup
from train.whole_batch import batch_of_live, with_partners
from train.windows import Epochs

LEAST_MIX = (
    0.9  # a note is printed if batches have less than this share of a full shuffle's classes
)


class Replayed:
    def __init__(self, setup: Setup) -> None:
        assert setup.images.train is not None, "views are replayed on images"
        assert isinstance(setup.images.val, ImageSource)
        self._setup = setup
        self._source, self._val = setup.images.train, setup.images.val
        self.val_world = setup.world
        self.val_rows = min(own_rows(setup), len(self._val))
        # One set of workers for both splits.
        self._loader = pixel_loader(setup, self._source, self._val)
        self._loader.start()  # before a view is loaded, whose memory workers would inherit
        self._labels = torch.from_numpy(setup.images.train.labels)
        self._samples = np.arange(len(setup.images.train))
        self._views = None
        cache = setup.targets.cache
        if cache is not None:
            self._skipped = frozenset(index for index, _, _ in cache.skipped())
            self._samples = np.delete(self._samples, sorted(self._skipped))
        self._epochs = Epochs(
            cache.manifest if cache else None,
            self._samples,
            _fields(setup),
            setup.recipe.batch_size,
            setup.seed,
        )
        self.layout: list[int] = self._epochs.layout
        self._plan = lru_cache(3)(self._epochs.plan)  # this epoch's, the next's, the last one's
        self._note_mix(setup.images.train.labels)
        if cache is not None:
            self._views = CachedViews(
                *(cache, setup.recipe, self._labels, setup.targets.cached, setup.device),
                *(self._plan, setup.targets.fixed, setup.world, setup.stage),
            )

    def _note_mix(self, labels: NDArray[np.int64]) -> None:
        """Tells if batches are less mixed than a full shuffle's, where a view is read in pieces."""
        if self._epochs.piece_rows is None or not self._setup.world.is_first:
            return
        if (mix := class_mix(self._plan(0), labels)) < LEAST_MIX:
            note(
                f"the targets of this recipe do not fit into memory, so samples are shuffled "
                f"within a window that slides over the cache, and a batch has {mix:.0%} of the "
                f"classes that one of a full shuffle has; make the cache with precompute/run.py "
                f"--format webdataset, whose blocks are mixed"
            )

    def steps(self, epoch: int) -> int:
        return self._epochs.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._epochs.smallest_part(epoch, self._setup.world.size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, views = self._setup, self._views
        steps = self._plan(epoch).steps
        if views is not None:
            views.begin(epoch, first)
        pixel_batches = self._loader.batches(self._requests(epoch, first))
        on_device = with_pixels_on(setup.device, self._decoded(pixel_batches))
        for step, (batch, pixels) in enumerate(on_device, first):
            if views is not None and setup.targets.cached:
                found = views.batch(step, batch.index)
            else:
                sizes = share_sizes(steps[step], setup.world)
                labels = self._labels[batch.index]
                found = batch_of_live(setup, pixels, labels, batch.index, sizes)
            if views is not None:
                views.done(step)
            partner = None if batch.partner is None else self._labels[batch.partner]
            yield pixels, with_partners(found, partner, batch.share)

    def _requests(self, epoch: int, first: int) -> Iterator[Request]:
        """Requests for stored boxes; without a cache, for views drawn newly in every epoch."""
        setup = self._setup
        draw = Draw(setup.images.policy, setup.seed, epoch)
        for number, step in enumerate(self._plan(epoch).steps[first:], first):
            index = process_share(step, setup.world)
            yield Request(0, index, self._replay(epoch, number, index) if self._views else draw)

    def _replay(self, epoch: int, step: int, index: NDArray[np.int64]) -> Replay:
        assert self._setup.targets.cache is not None and self._views is not None
        manifest = self._setup.targets.cache.manifest
        return Replay(
            self._setup.images.policy,
            *self._views.boxes(step, index),
            manifest.seed,
            epoch % manifest.views,
            self._skipped if self._setup.images.policy.mixes else frozenset(),
        )

    def _decoded(self, batches: Iterator[PixelBatch]) -> Iterator[PixelBatch]:
        for batch in batches:
            if batch.bad:
                row, reason = batch.bad[0]
                raise InputError(
                    f"{self._source.keys[int(batch.index[row])]} in {self._source.spec} does not "
                    f"decode ({reason}): repair or remove it, or make a cache with "
                    f"precompute/run.py --skip-bad and train from that"
                )
            yield batch

    def val_batches(self) -> Iterator[Labelled]:
        return image_batches(
            self._loader,
            1,
            self._val,
            self.val_rows,
            self.val_world,
            self._setup.images.val_policy,
        )

    def close(self) -> None:
        if self._views is not None:
            self._views.close()


def own_rows(setup: Setup) -> int:
    """Samples in the largest batch of a process."""
    return -(-setup.recipe.batch_size // setup.world.size)


def _fields(setup: Setup) -> list[str]:
    """The stored fields of the targets that the recipe uses; none without a cache.

    With a live teacher they are the same, so that both are trained on the same batches.
    """
    if setup.targets.cache is None:
        return []
    return setup.targets.cache.manifest.encoding.needed(setup.recipe.needs)


def pixel_loader(setup: Setup, *sources: ImageSource) -> PixelLoader:
    """A loader for the splits of a run, in the order of `sources`."""
    return PixelLoader(
        sources, setup.images.size, setup.workers, pin_memory=setup.device.type == "cuda"
    )
