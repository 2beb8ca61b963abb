"""Images that do not decode: whether a run goes on without them, and when there are too many.

A handful of bad files among a million is usual, and --skip-bad leaves them out; a source of which
one image in fifty does not decode is broken, and a cache of the rest is of no use.
"""

import math
from collections.abc import Iterable

from shared.cache.opening import Cache
from shared.errors import InputError


class Skips:
    """Counts the images that one process skips. InputError at one too many."""

    def __init__(self, share: float | None, samples: int, known: Iterable[int] = ()) -> None:
        """`share` of `samples`, those that this process is to do: None allows none at all.

        `known`: samples that were skipped before.
        """
        self.share = share
        self.samples = samples
        self._bad = set(known)

    @classmethod
    def of(cls, cache: Cache, units: Iterable[tuple[int, int]], share: float | None) -> "Skips":
        """Of all (view, block) that a process is to do, those that are done among them, so that a
        run that was interrupted stops where one that was not does."""
        blocks = {block for _, block in units}
        samples = sum(len(cache.manifest.rows(block)) for block in blocks)
        known: set[int] = set()
        if share is not None:
            for block in blocks:
                try:
                    known |= cache.receipt(0, block).skipped_samples
                except InputError:
                    continue  # not there yet, or to be made again
        return cls(share, samples, known)

    def add(self, index: int, key: str, where: str, reason: str) -> None:
        """Sample `index`, called `key`, of the source `where`."""
        if self.share is None:
            raise InputError(
                f"{key} in {where} does not decode ({reason}): restore or remove it, or go on "
                f"without it with --skip-bad"
            )
        self._bad.add(index)
        if len(self._bad) > self.share * self.samples:
            needed = math.ceil(1000 * len(self._bad) / self.samples) / 1000
            raise InputError(
                f"{len(self._bad):,} of the {self.samples:,} images in {where} do not decode, the "
                f"last one {key} ({reason}), and at most {100 * self.share:g} % may be bad: "
                f"restore them, or allow more with --skip-bad {min(1.0, 2 * needed):g}"
            )


def share_of_flag(share: float | None) -> float | None:
    """What --skip-bad was given. InputError where it is not a share."""
    if share is not None and not 0 < share <= 1:
        raise InputError(
            f"--skip-bad must be a share of the images above 0 and at most 1: got {share:g}; 0.01 "
            f"is one in a hundred"
        )
    return share
