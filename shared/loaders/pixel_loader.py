"""Turns encoded images into batches of uint8 pixels, in DataLoader worker processes.

A request describes one batch: the sample indices, and either stored boxes to replay or a policy to
draw views from. Batches come back in the order of the requests, so the result does not depend on
the number of workers. One set of workers serves all sources of a run (train and val) and lives as
long as the loader. Workers never touch zarr or the GPU.

Shapes: B samples in a batch, images of S x S pixels.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from shared.errors import BadImage
from shared.images.source import ImageSource
from shared.loaders.shared_memory import require_room
from shared.loaders.worker import CARRIED, Failed, begin_worker, held_signals, received
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import TooSmall
from shared.pixels.seen import Views
from shared.pixels.view import ViewPolicy, new_batch, stored_view


@dataclass(frozen=True)
class Replay:
    """Replays view `number` of each sample, whose box a cache of `policy` and `seed` stores."""

    policy: ViewPolicy | str
    box: NDArray[np.int32]  # (B, 4): top, left, height, width
    flip: NDArray[np.bool_]  # (B,)
    # For a policy that augments:
    seed: int = 0
    number: int = 0
    skipped: frozenset[int] = frozenset()  # samples that the cache leaves out


@dataclass(frozen=True)
class Draw:
    """Draws view `number` of each sample from `policy`."""

    policy: ViewPolicy | str
    seed: int
    number: int


@dataclass(frozen=True)
class Request:
    source: int  # position among the loader's sources
    index: NDArray[np.int64]  # (B,) samples
    views: Replay | Draw


@dataclass(frozen=True)
class PixelBatch:
    index: Tensor  # (B,) int64 samples
    pixels: Tensor  # (B, 3, S, S) uint8, channels last; zeros where the image is bad
    box: Tensor  # (B, 4) int32: top, left, height, width
    flip: Tensor  # (B,) bool
    images: tuple[bytes, ...]  # B JPEGs that decode to `pixels`; () unless as_jpeg was set
    # (row in the batch, reason) for images that do not decode or are too small for the policy.
    # These are properties of the data, the same in every run; a failing source raises instead.
    bad: tuple[tuple[int, str], ...]
    # Where the policy mixes views, (B,) each: the sample that a view is mixed with, int64, and the
    # weight of the sample itself, float32. A view that is not mixed has itself and 1.
    partner: Tensor | None = None
    share: Tensor | None = None

    def pin_memory(self) -> "PixelBatch":
        """Called by DataLoader's pinning thread."""
        return replace(self, pixels=self.pixels.pin_memory())


class _Pixels(Dataset[PixelBatch | Failed]):
    """A map-style dataset whose index is a request: one request in, one batch out."""

    def __init__(self, sources: tuple[ImageSource, ...], size: int, as_jpeg: bool) -> None:
        self.sources = sources
        self.size = size
        self.as_jpeg = as_jpeg

    def __getitem__(self, request: Request) -> PixelBatch | Failed:
        try:
            return self._batch(request)
        except CARRIED as error:
            return Failed.of(error)

    def _batch(self, request: Request) -> PixelBatch:
        source = self.sources[request.source]
        rows = len(request.index)
        how = request.views
        views = Views(how.policy, self.size, how.seed, how.number, source.read, len(source))
        pixels = new_batch(rows, self.size)
        box = np.zeros((rows, 4), np.int32)
        flip = np.zeros(rows, bool)
        images = [b""] * rows
        partner, share = request.index.copy(), np.ones(rows, np.float32)
        bad = []
        for row, index in enumerate(request.index.tolist()):
            try:
                if isinstance(how, Draw):
                    seen = views.draw(index)
                else:
                    stored = stored_view(how.policy, how.box[row].tolist(), bool(how.flip[row]))
                    seen = views.replay(index, stored, how.skipped)
                pixels[row] = seen.pixels
                if self.as_jpeg:
                    images[row] = encode_pixels(pixels[row])
                    pixels[row] = decode_pixels(images[row])
            except (BadImage, TooSmall) as error:
                bad.append((row, str(error)))
                continue
            view = seen.view
            box[row] = view.top, view.left, view.height, view.width
            flip[row] = view.flip
            if seen.mix is not None:
                partner[row], share[row] = seen.mix.partner, seen.mix.share
        return PixelBatch(
            torch.from_numpy(request.index),
            pixels,
            torch.from_numpy(box),
            torch.from_numpy(flip),
            tuple(images) if self.as_jpeg else (),
            tuple(bad),
            torch.from_numpy(partner) if views.mixes else None,
            torch.from_numpy(share) if views.mixes else None,
        )


class _Requests(Sampler[Request]):
    """The requests that the loader iterates over; replaced for each call of `batches`."""

    def __init__(self) -> None:
        self.requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


class PixelLoader:
    def __init__(
        self,
        sources: tuple[ImageSource, ...],
        size: int,
        workers: int,
        pin_memory: bool,
        as_jpeg: bool = False,
    ) -> None:
        """With `as_jpeg`, every view is encoded as in a view shard and then decoded again."""
        self._requests = _Requests()
        self._size = size
        self._workers = workers
        self._loader: DataLoader[PixelBatch | Failed] = DataLoader(
            _Pixels(sources, size, as_jpeg),
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=begin_worker,
        )

    def start(self) -> None:
        """Starts the workers now, before the parent allocates memory that they would inherit."""
        for _ in self.batches(()):
            raise AssertionError("nothing was asked for")

    def batches(self, requests: Iterable[Request]) -> Iterator[PixelBatch]:
        """The batches of `requests`, in order. Exhaust the result before calling this again.

        Raises the InputError, StorageError, OSError or MemoryError of a worker, and InputError if
        shared memory is too small for batches of the first request's size.
        """
        requests = iter(requests)
        for first in requests:
            require_room(self._workers, len(first.index), 3 * self._size**2)
            requests = chain([first], requests)
            break
        self._requests.requests = requests
        with held_signals(multiprocessing.get_context()):
            batches = iter(self._loader)
        return received(batches)
