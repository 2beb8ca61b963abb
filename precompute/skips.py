"""Counts images that do not decode and stops the run when there are too many (--skip-bad).

A handful of bad files among a million is normal and can be skipped. If one image in fifty does not
decode, the source is broken, and a cache of the rest would be of no use.
"""

import math
from collections.abc import Iterable

from shared.errors import InputError
from shared.store.opening import Cache


class Skips:
    """Counts the images that are skipped. `add` and `learn` raise InputError at one too many."""

    def __init__(self, share: float | None, samples: int, known: Iterable[int] = ()) -> None:
        """Allows up to `share` of `samples`, the images of the split, to be bad; None allows none.

        `known`: samples that were skipped before.
        """
        self.share = share
        self.samples = samples
        self._bad = set(known)
        self._learnt: set[int] = set()  # blocks of other processes

    @classmethod
    def of(cls, cache: Cache, units: Iterable[tuple[int, int]], share: float | None) -> "Skips":
        """Counts over all `units` (view, block), including finished ones.

        So a run that was interrupted stops at the same image as one that was not."""
        blocks = {block for _, block in units}
        samples = sum(len(cache.manifest.rows(block)) for block in blocks)
        known: set[int] = set()
        if share is not None:
            for block in blocks:
                try:
                    known |= cache.receipt(0, block).skipped_samples
                except InputError:
                    continue  # missing, or will be made again
        return cls(share, samples, known)

    def learn(self, cache: Cache, units: Iterable[tuple[int, int]]) -> None:
        """Counts the images that other processes skipped in finished `units`. Raises InputError.

        A block skips the same images in every view, so one view of it is read."""
        if self.share is None:
            return
        for view, block in units:
            if block not in self._learnt:
                self._learnt.add(block)
                for index, key, reason in cache.receipt(view, block).skipped:
                    self.add(index, key, cache.manifest.source.spec, reason)

    def add(self, index: int, key: str, where: str, reason: str) -> None:
        """Counts sample `index`, with this key, of the source `where`. Raises InputError."""
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
    """The value of --skip-bad. Raises InputError if it is not above 0 and at most 1."""
    if share is not None and not 0 < share <= 1:
        raise InputError(
            f"--skip-bad must be a share of the images above 0 and at most 1: got {share:g}; 0.01 "
            f"is one in a hundred"
        )
    return share
