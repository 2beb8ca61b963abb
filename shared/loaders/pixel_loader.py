"""Turns encoded images into batches of uint8 pixels, in DataLoader worker processes.

requests.py describes requests and batches. Batches come back in the order of the requests, so the
result does not depend on the number of workers. One set of workers serves all sources of a run
(train and val) and lives as long as the loader. Workers never touch zarr or the GPU.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from shared.errors import BadImage
from shared.images.source import ImageSource
from shared.loaders.requests import Draw, PixelBatch, Replay, Request
from shared.loaders.shared_memory import require_room
from shared.loaders.worker import CARRIED, Failed, begin_worker, end_workers, held_signals, received
from shared.pixels.decode import decode
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import TooSmall
from shared.pixels.seen import Seen, Views
from shared.pixels.view import as_policy, new_batch, stored_view

__all__ = ["Draw", "PixelBatch", "PixelBatches", "PixelLoader", "Replay", "Request"]


class PixelBatches(Dataset[PixelBatch | Failed]):
    """A map-style dataset whose index is a request: one request in, one batch out."""

    def __init__(self, sources: tuple[ImageSource, ...], size: int, as_jpeg: bool) -> None:
        self.sources = sources
        self.size = size
        self.as_jpeg = as_jpeg

    def __getitem__(self, request: Request) -> PixelBatch | Failed:
        try:
            return self.of(request)
        except CARRIED as error:
            return Failed.of(error)

    def of(self, request: Request) -> PixelBatch:
        """Raises what a source raises that fails."""
        source, how = self.sources[request.source], request.views
        index = np.tile(request.index, len(how.numbers))
        rows = len(index)
        pixels = new_batch(rows, self.size)
        box = np.zeros((rows, 4), np.int32)
        flip = np.zeros(rows, bool)
        images = [b""] * rows
        partner, share = index.copy(), np.ones(rows, np.float32)
        bad = []
        for row, seen in self._seen(source, request.index, how):
            if isinstance(seen, Exception):
                bad.append((row, str(seen)))
                continue
            pixels[row] = seen.pixels
            if self.as_jpeg:
                images[row] = encode_pixels(pixels[row])
                pixels[row] = decode_pixels(images[row])
            view = seen.view
            box[row] = view.top, view.left, view.height, view.width
            flip[row] = view.flip
            if seen.mix is not None:
                partner[row], share[row] = seen.mix.partner, seen.mix.share
        mixes = as_policy(how.policy).mixes
        return PixelBatch(
            torch.from_numpy(index),
            pixels,
            torch.from_numpy(box),
            torch.from_numpy(flip),
            tuple(images) if self.as_jpeg else (),
            tuple(sorted(bad)),
            torch.from_numpy(partner) if mixes else None,
            torch.from_numpy(share) if mixes else None,
        )

    def _seen(
        self, source: ImageSource, samples: NDArray[np.int64], how: Replay | Draw
    ) -> Iterator[tuple[int, Seen | BadImage | TooSmall]]:
        """(row, what is seen, or why nothing is), sample by sample: each is decoded once."""
        views = [
            Views(how.policy, self.size, how.seed, number, source.read, len(source))
            for number in how.numbers
        ]
        for place, index in enumerate(samples.tolist()):
            rows = range(place, len(samples) * len(views), len(samples))
            try:
                image = decode(source.read(index)) if isinstance(how, Draw) else None
            except BadImage as error:
                yield from ((row, error) for row in rows)
                continue
            for row, view in zip(rows, views, strict=True):
                try:
                    if isinstance(how, Draw):
                        assert image is not None
                        seen = view.draw_from(index, image)
                    else:
                        box, flip = how.box[place].tolist(), bool(how.flip[place])
                        stored = stored_view(how.policy, box, flip)
                        seen = view.replay(index, stored, how.skipped)
                except (BadImage, TooSmall) as error:
                    yield row, error
                else:
                    yield row, seen


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
            PixelBatches(sources, size, as_jpeg),
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
            require_room(self._workers, first.rows, 3 * self._size**2)
            requests = chain([first], requests)
            break
        self._requests.requests = requests
        with held_signals(multiprocessing.get_context()):
            batches = iter(self._loader)
        return received(batches)

    def close(self) -> None:
        """Ends the workers. Later batches start new ones."""
        end_workers(self._loader)
        self._requests.requests = ()
