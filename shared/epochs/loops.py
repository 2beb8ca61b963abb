"""The two loops of a user: over an epoch with the teacher's targets, and over the val split.

Shapes: B samples in a batch, images of S x S pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from shared.device import moved, with_pixels_on
from shared.epochs.batch import EpochBatch
from shared.epochs.feed import Feed, open_feed
from shared.epochs.guide import Guide
from shared.epochs.options import FeedOptions
from shared.epochs.session import Session
from shared.epochs.teacher_targets import TeacherTargets
from shared.epochs.val_batches import ValFeed
from shared.errors import InputError

NO_END = 1 << 62  # epochs, if it is not known how many there will be


@dataclass(frozen=True)
class Asked:
    """What a loop asks of the teacher, see options.Wanted."""

    kinds: frozenset[str]
    guide: Guide | None
    batch_size: int
    epochs: int

    @property
    def reads_logits(self) -> bool:
        return "logits" in self.kinds


class EpochLoader:
    """The steps of an epoch from `start` on: (pixels, labels, targets) of each.

        pixels   (B, 3, S, S) uint8: RGB, 0 to 255, channels last in memory
        labels   (B,) int64
        targets  a TeacherTargets

    All are on the device that was asked for. Its length is the number of steps.
    """

    def __init__(
        self,
        session: Session[Feed],
        options: FeedOptions,
        epoch: int,
        start: int,
        cache: object,
    ) -> None:
        """Opens the feed. `cache`: lives as long as the loop."""
        self._session, self._options, self._cache = session, options, cache
        self._open = partial(open_feed, options)
        self.epoch, self.start = epoch, start
        self.steps = session.feed(options, self._open).steps(epoch)  # of the whole epoch
        if start > self.steps:
            raise InputError(
                f"start must be a step of epoch {epoch}, which has {self.steps}: got {start}"
            )

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, TeacherTargets]]:
        if self.start == self.steps:
            return
        feed, turn = self._session.begin(self._options, self._open)
        finished = False
        try:
            for pixels, batch in feed.batches(self.epoch, self.start):
                yield pixels, batch.labels, self._targets(batch)
                self._session.require_turn(turn)
            finished = True
        finally:
            another = self.epoch + 1 < self._options.wanted.epochs
            self._session.end(turn, keep=finished and another)

    def _targets(self, batch: EpochBatch) -> TeacherTargets:
        assert batch.targets is not None and self._options.cache is not None
        found = dict(batch.targets)
        more = ("guided", "index", "partner", "share")
        found |= {name: rows for name in more if (rows := getattr(batch, name)) is not None}
        return TeacherTargets(found, self._options.cache.manifest.teacher.channels)


class ValLoader:
    """The val split in order: (pixels, labels) of each batch, see EpochLoader.

    An image that does not decode has the label -1, so it counts as wrong.
    """

    def __init__(self, session: Session[ValFeed], options: FeedOptions, cache: object) -> None:
        self._session, self._options, self._cache = session, options, cache
        assert options.val is not None
        self._open = partial(ValFeed, options, options.val)
        self._batches = session.feed(options, self._open).steps

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        feed, turn = self._session.begin(self._options, self._open)
        finished, device = False, self._options.device
        try:
            for batch, pixels in with_pixels_on(device, feed.batches()):
                yield pixels, moved(batch.labels, device)
                self._session.require_turn(turn)
            finished = True
        finally:
            self._session.end(turn, keep=finished)
