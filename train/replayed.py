"""The training input that replays views on the source's images, with targets from the cache."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import with_pixels_on
from shared.errors import InputError, note
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from train.accuracy import image_batches
from train.batch import Batch
from train.cached_views import Blocks, CachedViews, LoadedView
from train.order import process_share, share_sizes
from train.setup import Setup
from train.whole_batch import batch_of_live, with_partners
from train.windows import Window, Windows

LEAST_CLASSES = 0.5  # a note is printed if windows have less than this share of the classes


class Replayed:
    def __init__(self, setup: Setup) -> None:
        assert setup.images.train is not None, "views are replayed on images"
        assert isinstance(setup.images.val, ImageSource)
        self._setup = setup
        self.layout: list[int] = []
        self._source, self._val = setup.images.train, setup.images.val
        self.val_world = setup.world
        # One set of workers for both splits.
        self._loader = pixel_loader(setup, self._source, self._val)
        self._loader.start()  # before a view is loaded, whose memory workers would inherit
        self._labels = torch.from_numpy(setup.images.train.labels)
        self._samples = np.arange(len(setup.images.train))
        self._views = None
        if setup.targets.cache is not None:
            self._views = CachedViews(
                setup.targets.cache,
                setup.recipe,
                self._labels,
                setup.targets.cached,
                setup.device,
                setup.targets.fixed,
            )
            self._skipped = frozenset(index for index, _, _ in setup.targets.cache.skipped())
            self._samples = np.delete(self._samples, sorted(self._skipped))
        self._windows = Windows(
            setup.targets.cache.manifest if setup.targets.cache else None,
            self._samples,
            self._views.row_bytes if self._views else 0,
            setup.recipe.batch_size,
            setup.seed,
        )
        self._note_windows(setup.images.train.labels)

    def _note_windows(self, labels: NDArray[np.int64]) -> None:
        share = self._windows.class_share(labels)
        if share < LEAST_CLASSES and self._setup.world.is_first:
            note(
                f"the targets of this recipe do not fit into memory, so an epoch takes "
                f"{self._windows.count} windows of a few blocks each, and such a window holds "
                f"{share:.0%} of the classes: batches are biased; make the cache with "
                f"precompute/run.py --format webdataset, whose blocks are mixed"
            )

    def steps(self, epoch: int) -> int:
        return self._windows.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        return self._windows.smallest_part(epoch, self._setup.world.size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        setup, device = self._setup, self._setup.device
        steps = [(w, step) for w in self._windows.of(epoch) for step in w.steps][first:]
        if self._views and steps:
            self._views.load(epoch, steps[0][0].blocks)
        # The views in use, by their blocks: requests may be windows ahead of the training step.
        views: dict[Blocks, LoadedView] = {}
        pixel_batches = self._loader.batches(self._requests(views, epoch, steps))
        on_device = with_pixels_on(device, self._decoded(pixel_batches))
        for (window, step), (batch, pixels) in zip(steps, on_device, strict=True):
            while views and (earliest := next(iter(views))) != window.blocks:
                del views[earliest]  # no later step reads it
            if self._views is not None and setup.targets.cached:
                view, whole = views[window.blocks], torch.from_numpy(step)
                found = self._views.batch(view, batch.index, whole, setup.world)
            else:
                sizes = share_sizes(step, setup.world)
                labels = self._labels[batch.index]
                found = batch_of_live(setup, pixels, labels, batch.index, sizes)
            partner = None if batch.partner is None else self._labels[batch.partner]
            yield pixels, with_partners(found, partner, batch.share)

    def _requests(
        self,
        views: dict[Blocks, LoadedView],
        epoch: int,
        steps: list[tuple[Window, NDArray[np.int64]]],
    ) -> Iterator[Request]:
        """Requests for stored boxes; without a cache, for views drawn newly in every epoch.

        Adds each window to `views` before its first step."""
        setup, last = self._setup, None
        following = self._following(epoch, steps)
        for window, step in steps:
            index = process_share(step, setup.world)
            if self._views is None:
                yield Request(0, index, Draw(setup.images.policy, setup.seed, epoch))
                continue
            if window is not last:
                last, view = window, self._views.load(epoch, window.blocks)
                views[window.blocks] = view
                if (coming := next(following, None)) is not None:
                    self._views.prefetch(*coming)  # after the loader has started its workers
            yield Request(0, index, self._replay(epoch, view, index))

    def _replay(self, epoch: int, view: LoadedView, index: NDArray[np.int64]) -> Replay:
        assert self._setup.targets.cache is not None
        manifest, rows = self._setup.targets.cache.manifest, view.at(index)
        return Replay(
            self._setup.images.policy,
            view.box[rows],
            view.flip[rows],
            manifest.seed,
            epoch % manifest.views,
            self._skipped if self._setup.images.policy.mixes else frozenset(),
        )

    def _following(
        self, epoch: int, steps: list[tuple[Window, NDArray[np.int64]]]
    ) -> Iterator[tuple[int, Blocks]]:
        """(epoch, blocks) of the windows after the first one, and of the next epoch's first."""
        windows = list(dict.fromkeys(window.blocks for window, _ in steps))
        yield from ((epoch, blocks) for blocks in windows[1:])
        if epoch + 1 < self._setup.recipe.epochs:
            yield epoch + 1, self._windows.first_blocks(epoch + 1)

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

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return image_batches(
            self._loader,
            1,
            self._val,
            self._setup.recipe.batch_size,
            self.val_world,
            self._setup.images.val_policy,
        )

    def close(self) -> None:
        if self._views is not None:
            self._views.close()


def pixel_loader(setup: Setup, *sources: ImageSource) -> PixelLoader:
    """A loader for the splits of a run, in the order of `sources`."""
    return PixelLoader(
        sources, setup.images.size, setup.workers, pin_memory=setup.device.type == "cuda"
    )
