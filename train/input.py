"""The input of training: the batches of an epoch, with what losses need that is always the same."""

from collections.abc import Iterator

from torch import Tensor

from shared.distributed import World
from shared.epochs.feed import open_feed
from shared.epochs.options import FeedOptions
from shared.epochs.val_batches import Labelled
from train.batch import Batch
from train.pieces import require_pieces
from train.setup import Setup


def feed_options(setup: Setup) -> FeedOptions:
    images, targets = setup.images, setup.targets
    return FeedOptions(
        wanted=setup.recipe,
        cache=targets.cache,
        train=images.train,
        val=images.val,
        policy=images.policy,
        val_policy=images.val_policy,
        size=images.size,
        cached=targets.cached,
        teacher=targets.teacher,
        seed=setup.seed,
        device=setup.device,
        workers=setup.workers,
        world=setup.world,
        connected=setup.world,
        stage=setup.stage,
        with_index=targets.fixed.memory is not None,
    )


class Input:
    """See shared/epochs/feed.py for the batches and their order."""

    def __init__(self, setup: Setup) -> None:
        self._feed = open_feed(feed_options(setup))
        self._fixed, self._world = setup.targets.fixed, setup.world
        self.layout: list[int] = self._feed.layout
        self.val_world: World = self._feed.val_world
        self.val_rows: int = self._feed.val_rows

    def steps(self, epoch: int) -> int:
        return self._feed.steps(epoch)

    def smallest_part(self, epoch: int) -> int:
        """Samples in the smallest batch that any process gets in any step of an epoch."""
        return self._feed.smallest_part(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Batch]]:
        """(B, 3, S, S) uint8 pixels and their Batch on the device, starting at step `first`."""
        for pixels, found in self._feed.batches(epoch, first):
            yield pixels, Batch.of(found, self._fixed, self._world)

    def val_batches(self) -> Iterator[Labelled]:
        return self._feed.val_batches()

    def close(self) -> None:
        self._feed.close()


def open_input(setup: Setup) -> Input:
    """Raises InputError if its batches cannot be cut as the flags require."""
    feed = Input(setup)
    require_pieces(
        feed.smallest_part,
        range(setup.recipe.epochs),
        setup.accumulate,
        setup.world.size,
        setup.student.backbone.stride,
        setup.images.size,
    )
    return feed
