"""From image bytes to batches of uint8 pixels, in worker processes that carry nothing else.

A request is one batch: which samples, and either the stored boxes to replay or the policy to draw
views from. Batches come back in the order of the requests, so nothing depends on the workers. One
set of workers serves every source of a run (train and val) and lives as long as the loader; zarr
and the GPU are never touched in them.

Shapes: B samples of a batch, S pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from shared.decode import BadImage, decode
from shared.errors import InputError, StorageError
from shared.images import ImageSource
from shared.jpeg import decode_pixels, encode_pixels
from shared.stop import leave_stopping_to_parent
from shared.view import TooSmall, View, apply, apply_to_image, draw_view, new_batch


@dataclass(frozen=True)
class Replay:
    """Stored views."""

    box: NDArray[np.int32]  # (B, 4): top, left, height, width
    flip: NDArray[np.bool_]  # (B,)


@dataclass(frozen=True)
class Draw:
    """View `number` of each sample, drawn from a policy."""

    policy: str
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
    images: tuple[bytes, ...]  # B JPEGs, which decode to `pixels`; () unless they were asked for
    # (row of the batch, reason) of images that do not decode, or are too small for the policy:
    # facts about the data, which a rerun finds again. A source that fails raises instead.
    bad: tuple[tuple[int, str], ...]

    def pin_memory(self) -> "PixelBatch":
        """Called by DataLoader's pinning thread."""
        return replace(self, pixels=self.pixels.pin_memory())


@dataclass(frozen=True)
class _Failure:
    """A source that failed, on its way out of a worker: torch would make a traceback of it."""

    error: InputError | StorageError


class _Pixels(Dataset[PixelBatch | _Failure]):
    """Map-style over requests: one request in, one batch out."""

    def __init__(self, sources: tuple[ImageSource, ...], size: int, as_jpeg: bool) -> None:
        self.sources = sources
        self.size = size
        self.as_jpeg = as_jpeg

    def __getitem__(self, request: Request) -> PixelBatch | _Failure:
        try:
            return self._batch(request)
        except (InputError, StorageError) as error:
            return _Failure(error)
        except MemoryError:
            return _Failure(
                InputError(
                    f"memory ran out while {len(request.index)} images were decoded: use fewer "
                    f"--workers or a smaller --batch-size"
                )
            )

    def _batch(self, request: Request) -> PixelBatch:
        source = self.sources[request.source]
        rows = len(request.index)
        pixels = new_batch(rows, self.size)
        box = np.zeros((rows, 4), np.int32)
        flip = np.zeros(rows, bool)
        images = [b""] * rows
        bad = []
        for row, index in enumerate(request.index.tolist()):
            try:
                data = source.read(index)
                if isinstance(request.views, Draw):
                    # The whole file is decoded, so that whether an image is bad does not depend
                    # on the view: one that precompute skips is skipped in every view.
                    image = decode(data)
                    draw = request.views
                    view = draw_view(
                        draw.policy, self.size, draw.seed, draw.number, index, *image.shape[:2]
                    )
                    pixels[row] = apply_to_image(view, image, self.size)
                else:
                    top, left, height, width = request.views.box[row].tolist()
                    view = View(top, left, height, width, bool(request.views.flip[row]))
                    pixels[row] = apply(view, data, self.size)
                if self.as_jpeg:
                    images[row] = encode_pixels(pixels[row])
                    pixels[row] = decode_pixels(images[row])
            except (BadImage, TooSmall) as error:
                bad.append((row, str(error)))
                continue
            box[row] = view.top, view.left, view.height, view.width
            flip[row] = view.flip
        return PixelBatch(
            torch.from_numpy(request.index),
            pixels,
            torch.from_numpy(box),
            torch.from_numpy(flip),
            tuple(images) if self.as_jpeg else (),
            tuple(bad),
        )


class _Requests(Sampler[Request]):
    """What the loader iterates over, exchanged between epochs."""

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
        """With `as_jpeg` every view is encoded as a view shard stores it, and decoded again."""
        self._requests = _Requests()
        self._loader: DataLoader[PixelBatch | _Failure] = DataLoader(
            _Pixels(sources, size, as_jpeg),
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=leave_stopping_to_parent,
        )

    def batches(self, requests: Iterable[Request]) -> Iterator[PixelBatch]:
        """The batches of `requests`, in their order. Finish one call's batches before the next.

        The workers are started by this call. Raises, at the batch where it happened: InputError or
        StorageError where a source fails, InputError where memory runs out.
        """
        self._requests.requests = requests
        return map(_require_batch, iter(self._loader))


def _require_batch(found: PixelBatch | _Failure) -> PixelBatch:
    if isinstance(found, _Failure):
        raise found.error
    return found
