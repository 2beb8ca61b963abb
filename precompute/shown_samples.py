"""Single views of a cache, with the picture they come from and what the teacher said about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from precompute.cache_statistics import NOT_SEEN, CacheStatistics
from precompute.complete_views import kinds_shown, ranges
from precompute.worst_labelled import keys_of
from shared.errors import BadImage, InputError
from shared.images.source import ImageSource
from shared.pixels.decode import decode
from shared.pixels.view import View
from shared.store.labelled import left_out, mixes_of
from shared.store.opening import Cache
from shared.store.stored_views import stored_views, view_of

Pixels = NDArray[np.uint8]  # (H, W, 3)
TOP = 5


@dataclass(frozen=True)
class Sample:
    index: int
    key: str
    view: int
    label: str
    partner: str | None  # the label of the image with which the view is mixed
    share: float  # the weight of the sample's own label
    guided: bool | None  # None: losses with a guide do not take this cache
    answer: str
    top: tuple[tuple[str, float], ...]  # classes and probabilities; () if there are no logits
    channels: NDArray[np.float32] | None  # (sum of C_s,)
    box: View
    pixels: Pixels | None  # the view as the network sees it
    source: Pixels | None
    problem: str | None  # why there are no pixels, or no source


def choose(
    found: CacheStatistics, wanted: int, seed: int, index: Sequence[int] | None, view: int | None
) -> list[tuple[int, int]]:
    """(sample, view) of what to show: `index`, or `wanted` samples drawn with the seed.

    They are shown in the views in turn, unless `view` says which. Raises InputError for a sample or
    a view that cannot be shown.
    """
    if view is not None and view not in found.views:
        raise InputError(
            f"--view must be a complete view of the cache, {ranges(found.views)}: got {view}"
        )
    usable = np.flatnonzero(found.labels != NOT_SEEN)
    if index is None:
        drawn = np.random.Generator(np.random.Philox(seed)).permutation(usable)[:wanted].tolist()
    else:
        drawn = list(index)
        for sample in drawn:
            if not 0 <= sample < len(found.labels):
                raise InputError(
                    f"--index must be 0 to {len(found.labels) - 1:,}, a sample of the split: got "
                    f"{sample}"
                )
            if found.labels[sample] == NOT_SEEN:
                raise InputError(
                    f"--index {sample} is an image that does not decode and was left out of the "
                    f"cache: give another"
                )
    views = found.views if view is None else [view]
    return [(sample, views[place % len(views)]) for place, sample in enumerate(drawn)]


def look_at(
    cache: Cache,
    found: CacheStatistics,
    source: ImageSource | None,
    names: tuple[Sequence[str], Sequence[str]],
    chosen: Sequence[tuple[int, int]],
) -> list[Sample]:
    """`names`: those of the data's classes, and those of the teacher's."""
    keys = keys_of(cache, source, [index for index, _ in chosen])
    return [_look(cache, found, source, names, index, view, keys[index]) for index, view in chosen]


def _look(
    cache: Cache,
    found: CacheStatistics,
    source: ImageSource | None,
    names: tuple[Sequence[str], Sequence[str]],
    index: int,
    view: int,
    key: str,
) -> Sample:
    manifest = cache.manifest
    ours, theirs = names
    place = int(manifest.place(np.array([index]))[0])
    block, row = divmod(place, manifest.block)
    fields = manifest.encoding.needed(kinds_shown(cache))
    stored = cache.read_rows(view, block, range(row, row + 1), [*fields, "box", "flip", "pred"])
    values = {name: torch.from_numpy(stored[name]) for name in fields}
    targets = manifest.encoding.decode(values, cache.head())
    label, answer = int(found.labels[index]), int(stored["pred"][0])
    mixes = manifest.view_policy.mixes
    without = left_out(cache) if mixes else frozenset()
    (other,), (share,) = mixes_of(cache, view, np.array([index]), found.labels, without)
    pixels, picture, problem = _pixels(cache, source, index, view)
    return Sample(
        index,
        key,
        view,
        ours[label],
        None if share == 1 else ours[other],
        share,
        None if mixes or not found.has_labels else answer == label,
        theirs[answer],
        _top(targets["logits"][0], theirs) if "logits" in targets else (),
        targets["channels"][0].numpy() if "channels" in targets else None,
        view_of(cache, stored, 0),
        pixels,
        picture,
        problem,
    )


def _top(logits: torch.Tensor, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    chances = logits.double().softmax(0).topk(min(TOP, len(names)))
    return tuple(
        (names[place], chance)
        for chance, place in zip(chances.values.tolist(), chances.indices.tolist(), strict=True)
    )


def _pixels(
    cache: Cache, source: ImageSource | None, index: int, view: int
) -> tuple[Pixels | None, Pixels | None, str | None]:
    """The pixels of the view and of its source, and why one of them is missing."""
    picture, problem = None, None
    if source is not None:
        picture, problem = read_picture(source, index)
    if source is None and not cache.manifest.holds_pixels:
        return None, None, None
    try:
        seen = stored_views(cache, view, source, [index])[index]
    except InputError as error:
        if cache.manifest.holds_pixels:
            raise
        return None, picture, problem or str(error)
    return seen.permute(1, 2, 0).numpy(), picture, problem


def read_picture(source: ImageSource, index: int) -> tuple[Pixels | None, str | None]:
    """All pixels of an image, or None and the reason."""
    try:
        return decode(source.read(index)), None
    except (BadImage, InputError) as error:
        return None, f"{error}"


def thumbnails(
    cache: Cache, source: ImageSource | None, wanted: Sequence[int]
) -> list[Pixels | None]:
    """The image of each sample, a view of it where only the cache has pixels, or None."""
    found = [None if source is None else read_picture(source, index)[0] for index in wanted]
    left = [index for index, picture in zip(wanted, found, strict=True) if picture is None]
    if not left or not cache.manifest.holds_pixels:
        return found
    views = stored_views(cache, 0, source, left)  # reads each shard once
    return [
        views[index].permute(1, 2, 0).numpy() if picture is None else picture
        for index, picture in zip(wanted, found, strict=True)
    ]


def class_names(cache: Cache) -> tuple[list[str], list[str]]:
    """Names of the data's classes and of the teacher's, as people call them."""
    ours = list(cache.manifest.source.classes)
    if len(ours) == 1000 and all(name[:1] == "n" and name[1:].isdecimal() for name in ours):
        from torchvision.models import ResNet18_Weights  # in the order of the folders' names

        words = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
        ours = [f"{name} {word}" for name, word in zip(ours, words, strict=True)]
    count = cache.manifest.teacher.classes
    return ours, ours if count == len(ours) else [f"class {number}" for number in range(count)]
