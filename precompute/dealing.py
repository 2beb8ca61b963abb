"""Deals missing blocks to the processes that fill a cache: whoever is free takes the next group.

    groups()    claims missing blocks, group by group, until none is left that is free
    more()      waits until it is known of each process that holds a claim whether it is alive;
                True if blocks have become free: a process was killed or has given up

Each process begins at another block, so that few try to claim the same one. A process on its own
takes whole groups (groups.py). With several, groups become smaller towards the end, so that no
process has several blocks to make while others have nothing left to do.

What others have finished shows in their receipts. A block that had a receipt when this process
started, and was missing or damaged all the same, is checked again once it is claimed.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType

from precompute.claims import Claims, Unit
from precompute.groups import Group, grouped, most_views, part_of
from precompute.job import Job
from precompute.skips import Skips
from shared.distributed import World
from shared.records.block import Block, Work
from shared.records.receipt import receipt_path
from shared.store.opening import Cache

LOOK = 20.0  # seconds after which the blocks of others are looked at for bad images


class OnlyHere:
    """For a cache that no other process fills."""

    def __init__(self, job: Job, todo: Iterable[Work]) -> None:
        self.made_elsewhere = 0
        self._groups = grouped(todo, most_views(job))

    def __enter__(self) -> "OnlyHere":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def groups(self) -> Iterator[Group]:
        return self._groups

    def finished(self, block: Block) -> None:
        pass

    def more(self) -> bool:
        return False


class Dealer:
    """`before`: the names of receipts that were there before the missing blocks were looked for."""

    def __init__(
        self,
        cache: Cache,
        job: Job,
        todo: Sequence[Work],
        skips: Skips,
        before: Collection[str],
        world: World,
        claims: Claims,
    ) -> None:
        self.made_elsewhere = 0  # views
        self._cache = cache
        self._source = job.source
        self._most = most_views(job)
        self._skips = skips
        self._world = world
        self._claims = claims
        self._left = {_unit(work): work for work in sorted(todo, key=lambda work: work.block)}
        self._repaired = {_unit(work) for work in todo if not _receipts(work).isdisjoint(before)}
        self._last_layer = {_unit(work): work.layers[-1] for work in todo}
        self._start = world.rank / world.size  # as a share of the blocks
        self._looked = claims.clock()  # when the receipts were last listed
        self._taken = 0  # blocks that this process has claimed since

    def __enter__(self) -> "Dealer":
        self._claims.__enter__()
        _, processes = self._claims.held()
        if self._world.size == 1 and processes > 1:
            self._start = random.SystemRandom().random()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._claims.__exit__(kind, error, traceback)

    def groups(self) -> Iterator[Group]:
        while group := self._choose():
            yield group

    def finished(self, block: Block) -> None:
        """To be called when a block, or a layer, was written."""
        unit = (block.view, block.index)
        if block.layer == self._last_layer[unit]:
            self._claims.release(unit)

    def more(self) -> bool:
        return self._claims.settle(self._undone)

    def _choose(self) -> Group:
        """Claims a group; () if nothing is free."""
        while True:
            held, processes = self._claims.held()
            processes = max(processes, self._world.size)
            if self._must_look(processes):
                self._undone()
            free = [unit for unit in self._left if self._claims.is_free(unit, held)]
            if not free:
                return ()
            claimed = self._claims.claim(self._next(free, processes), held)
            group = tuple(self._left[unit] for unit in claimed if not self._is_done(unit))
            self._taken += len(group)
            for unit in claimed:
                work = self._left.pop(unit)
                if work not in group:
                    self._claims.release(unit)
                    self.made_elsewhere += len(self._cache.manifest.rows(work.block))
            if len(group) < len(claimed):
                self._undone()
            if group:
                return group

    def _must_look(self, processes: int) -> bool:
        """Whether it is time to look at what others have finished: if there may be little left, as
        they take as much as this process, or if their bad images count."""
        if processes == 1:
            return False
        if len(self._left) - (processes - 1) * self._taken < 2 * processes * self._most:
            return True
        return self._skips.share is not None and self._claims.clock() - self._looked > LOOK

    def _next(self, free: list[Unit], processes: int) -> list[Unit]:
        """The blocks to claim among those that are free, which are ordered by block."""
        by_block = [list(units) for _, units in groupby(free, lambda unit: unit[1])]
        first = self._start * self._cache.manifest.blocks
        units = next((units for units in by_block if units[0][1] >= first), by_block[0])
        most = self._most
        if processes > 1:
            most = min(most, -(-len(free) // (2 * processes)))
        return sorted(units)[: part_of(len(units), most)]

    def _is_done(self, unit: Unit) -> bool:
        """Whether another process has made a claimed block."""
        work, exists = self._left[unit], self._cache.files.exists
        if not all(exists(receipt_path(*unit, layer)) for layer in work.layers):
            return False
        if unit not in self._repaired:
            return True
        return all(self._cache.is_done(*unit, self._source, layer) for layer in work.layers)

    def _undone(self) -> set[Unit]:
        """Forgets what other processes have finished, and counts their bad images; returns what is
        left."""
        self._looked, self._taken = self._claims.clock(), 0
        names = set(self._cache.files.names("receipts"))
        done = [
            unit
            for unit, work in self._left.items()
            if unit not in self._repaired and _receipts(work) <= names
        ]
        for unit in done:
            del self._left[unit]
            self.made_elsewhere += len(self._cache.manifest.rows(unit[1]))
        self._skips.learn(self._cache, done)
        return {*self._left}


def _unit(work: Work) -> Unit:
    return work.view, work.block


def _receipts(work: Work) -> set[str]:
    """The names of the receipts that the work will have."""
    return {Path(receipt_path(work.view, work.block, layer)).name for layer in work.layers}
