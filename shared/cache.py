"""A teacher's cache, for a training loop of your own.

    from shared.cache import TeacherCache

    with TeacherCache("data/teacher_cache") as cache:
        for epoch in range(30):
            for pixels, labels, targets in cache.loader(epoch=epoch, batch_size=256):
                logits = student(cache.normalise(pixels))  # and a loss with targets.logits

The batches are those of train/run.py, bit for bit and in the same order, for the same seed, epoch,
batch size and number of processes (with view shards, of workers too). What does not fit together is
refused with the same line: InputError, a ValueError; StorageError if a disk or a bucket fails.
docs/python.md has examples. Shapes: B samples in a batch, images of S x S pixels.
"""

import weakref
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from shared.epochs.checked import CheckedCache, whole
from shared.epochs.feed import Feed
from shared.epochs.loops import NO_END, Asked, EpochLoader, ValLoader
from shared.epochs.processes import processes
from shared.epochs.session import Session
from shared.epochs.teacher_targets import TeacherTargets
from shared.epochs.val_batches import ValFeed
from shared.epochs.view_dataset import ViewDataset
from shared.errors import InputError, StorageError
from shared.pixels.normalise import Normalisation
from shared.records.manifest import Manifest, TeacherFacts

__all__ = ["InputError", "StorageError", "TeacherCache", "TeacherTargets", "ViewDataset"]


class TeacherCache:
    """One split of a cache that precompute/run.py made, in either format.

    A loop that is left early ends its workers and threads. One that reached its end leaves them for
    the next epoch: until `close`, the end of a `with`, or nothing uses this object any more.
    """

    def __init__(
        self,
        location: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        views: int | None = None,
    ) -> None:
        """Reads the manifest only. Blocks and images are checked when they are first needed.

        location  folder or URL, as --cache
        images    where the images are now, as --images; None: where they were
        views     use only the first ones; a run goes on with as many as it began with
        """
        self._checked = CheckedCache(location, split, images, views)
        self._session, self._val_session = Session[Feed](), Session[ValFeed]()
        weakref.finalize(self, self._session.close)
        weakref.finalize(self, self._val_session.close)

    def loader(
        self,
        *,
        epoch: int,
        batch_size: int,
        start: int = 0,
        epochs: int | None = None,
        targets: Collection[str] | str | None = None,
        guide_below: float | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        stage: str | Path | None = None,
    ) -> EpochLoader:
        """The batches of an epoch: every image once, in view epoch % views.

        epoch             from 0; with `seed` it also chooses the order
        batch_size        samples a step, over all processes; batches differ by one at most
        start             the first step, to go on in the middle of an epoch
        epochs            how many there will be; the next view is read while this one is used
        targets           kinds, like ["logits", "attention"]; None: logits and channels, if kept
        guide_below       `targets.guided` is where the teacher's cross-entropy with the label is
                          below this, in nats; None: where its first choice is the label
        device            where batches are put
        workers           processes that decode; None: one a core beside a GPU, else none
        rank, world_size  of the processes that share the steps, all of which must make the same
                          loops; None: as torch.distributed says
        stage             folder for the targets of a view, as --stage; None: memory, if they fit
        """
        epoch, start = whole("epoch", epoch, 0), whole("start", start, 0)
        among = processes(rank, world_size)
        kinds = self._checked.kinds(targets)
        wanted = Asked(
            kinds,
            self._checked.guide(guide_below, kinds),
            whole("batch_size", batch_size, 1),
            NO_END if epochs is None else whole("epochs", epochs, epoch + 1),
        )
        options = self._checked.options(
            wanted, device, workers, among, seed=whole("seed", seed, 0), stage=stage
        )
        return EpochLoader(self._session, options, epoch, start, self)

    def val_loader(
        self,
        *,
        batch_size: int = 256,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> ValLoader:
        """(pixels, labels) of the val split, in order, as train/run.py evaluates them.

        For a teacher's answers to a val split that is cached: TeacherCache(..., split="val").
        """
        among, val = processes(rank, world_size), self._checked.val
        wanted = Asked(frozenset(), None, whole("batch_size", batch_size, 1), NO_END)
        options = self._checked.options(wanted, device, workers, among, val=val)
        return ValLoader(self._val_session, options, self)

    def dataset(
        self,
        *,
        view: int = 0,
        targets: Collection[str] | str | None = None,
        guide_below: float | None = None,
    ) -> ViewDataset:
        """A view of every image as a torch Dataset: (pixels, label, targets) of a sample.

        It reads the targets of the view into memory. `targets`, `guide_below`: as in `loader`.
        """
        if whole("view", view, 0) >= self.views:
            raise InputError(f"view must be below {self.views}, the views of this cache: {view}")
        kinds = self._checked.kinds(targets)
        guide = self._checked.guide(guide_below, kinds)
        return ViewDataset(self._checked.cache, self._checked.source, view, kinds, guide)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> float32 as the teacher saw them: see `normalisation`."""
        return self.normalisation(pixels)

    @property
    def normalisation(self) -> Normalisation:
        """The teacher's mean and std, of pixels / 255, in the order R, G, B."""
        return Normalisation(self.manifest.mean, self.manifest.std)

    @property
    def manifest(self) -> Manifest:
        """All that the cache says of itself."""
        return self._checked.cache.manifest

    @property
    def views(self) -> int:
        return self.manifest.views

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the images' classes; labels are their positions."""
        return self.manifest.source.classes

    @property
    def teacher(self) -> TeacherFacts:
        """Its `architecture`, the `channels` of its stages, and more."""
        return self.manifest.teacher

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of targets that the cache keeps."""
        return self.manifest.encoding.names

    def __len__(self) -> int:
        """Images, those that precompute skipped included."""
        return self.manifest.samples

    def __repr__(self) -> str:
        facts = self.manifest
        return (
            f"<TeacherCache {self._checked.cache.where}: {facts.views} views of {len(self):,} "
            f"images at {facts.size} px, {', '.join(self.kinds)} of {self.teacher.architecture}>"
        )

    def close(self) -> None:
        """Ends workers and threads, and frees memory. Another loop opens it again."""
        self._session.close()
        self._val_session.close()

    def __enter__(self) -> "TeacherCache":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
