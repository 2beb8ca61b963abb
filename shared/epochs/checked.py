"""A split of a cache with the checks that it needs before it is used, as train/run.py makes them.

The blocks are complete, the images are those of the cache, they still give the pixels that the
teacher saw, and the targets that are asked for are there. Each is checked once.
"""

import operator
from collections.abc import Collection
from pathlib import Path

import torch

from shared.choices import VAL_POLICY
from shared.device import default_workers
from shared.distributed import World, from_first
from shared.epochs.guide import Guide, TeacherCorrect, TeacherLossBelow
from shared.epochs.images import replayed_images, val_of_cache
from shared.epochs.loops import Asked
from shared.epochs.options import FeedOptions
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.pixels.view import ViewPolicy
from shared.store.checks import require_classes_of_images, require_pixels, require_targets
from shared.store.opening import Cache, open_cache
from shared.targets.kinds import BASE, kinds_asked


class CheckedCache:
    def __init__(
        self, location: str | Path, split: str, images: str | Path | None, views: int | None
    ) -> None:
        """`images`: where they are now; None: where they were. `views`: only the first ones."""
        self.cache = cache = open_cache(location, split)
        if views is not None:
            most = cache.manifest.views
            if whole("views", views, 1) > most:
                raise InputError(f"views must be at most {most}, as {cache.where} has: got {views}")
            self.cache = Cache(cache.files, cache.manifest.with_views(views))
        self._location, self._images = location, None if images is None else str(images)
        self._source: ImageSource | None = None
        self._val: ImageSource | Cache | None = None
        self._are_listed = self._have_pixels = False
        self._usable: set[frozenset[str]] = set()

    @property
    def labels_fit(self) -> bool:
        """Whether the teacher's classes are those of the images."""
        manifest = self.cache.manifest
        return manifest.teacher.classes == len(manifest.source.classes)

    def kinds(self, asked: Collection[str] | str | None) -> frozenset[str]:
        """The kinds of targets in `asked`; None stands for the usual ones.

        Raises InputError if the cache does not have them, or cannot be used.
        """
        manifest = self.cache.manifest
        if asked is None:
            usual = BASE if self.labels_fit else BASE[1:]
            found = frozenset(filter(manifest.encoding.offers, usual)) or frozenset({"logits"})
        else:
            text = asked if isinstance(asked, str) else ",".join(asked)
            found = frozenset(kinds_asked(text, len(manifest.teacher.channels)))
        if found not in self._usable:
            self._require(found, f"targets={sorted(found)}")
            self._usable.add(found)
        return found

    def guide(self, below: float | None, kinds: frozenset[str]) -> Guide | None:
        """None where there is not one label that the teacher's logits can be compared with."""
        if below is not None and "logits" not in kinds:
            raise InputError("guide_below compares the teacher's logits: add logits to targets")
        if not self.labels_fit or self.cache.manifest.view_policy.mixes:
            return None
        return TeacherCorrect() if below is None else TeacherLossBelow(below)

    @property
    def source(self) -> ImageSource | None:
        """The images; None if the cache has the pixels. Checks that both are whole."""
        if not self._are_listed:
            self._source = replayed_images(self.cache, self._images)
            self._are_listed = True
        return self._source

    @property
    def val(self) -> ImageSource | Cache:
        """The val split for students of this one."""
        if self._val is None:
            self._val = val_of_cache(self.cache, self._location, self._images)
        return self._val

    def _require(self, kinds: frozenset[str], user: str) -> None:
        source = self.source
        require_classes_of_images(self.cache, kinds, user)
        require_targets(self.cache, kinds, user)
        if not self._have_pixels:
            require_pixels(self.cache, source)
            self._have_pixels = True

    def options(
        self,
        wanted: Asked,
        device: torch.device | str,
        workers: int | None,
        among: tuple[World, World],
        *,
        val: ImageSource | Cache | None = None,
        seed: int = 0,
        stage: str | Path | None = None,
    ) -> FeedOptions:
        """`among`: the processes that share the steps, and those that communicate."""
        manifest, (world, connected) = self.cache.manifest, among
        try:
            place = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {device} cannot be used here ({reason})") from error
        if workers is None:  # each process must know how many the others have
            workers = from_first(lambda: default_workers(place), connected)
        return FeedOptions(
            wanted=wanted,
            cache=self.cache,
            train=self._source,
            val=val,
            policy=manifest.view_policy,
            val_policy=ViewPolicy(VAL_POLICY, manifest.interpolation, manifest.crop),
            size=manifest.size,
            cached=True,
            teacher=None,
            seed=seed,
            device=place,
            workers=whole("workers", workers, 0),
            world=world,
            # Streamed batches are counted over all processes, at every step. Nobody here asks.
            connected=World() if manifest.holds_pixels else connected,
            stage=None if stage is None else Path(stage),
            with_index=True,
        )


def whole(name: str, value: int, least: int) -> int:
    """`value` as an int. Raises InputError unless it is one, and not below `least`."""
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise InputError(f"{name} must be a whole number of {least} or more: got {value!r}")
    return found
