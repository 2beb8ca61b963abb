"""Claims: how the processes that fill one cache tell each other which blocks they are making.

    <split>/.claim~vVVVV-bBBBBBB~N    a block of a view is being made; holds the name of the process
    <split>/.alive~NAME               a counter that the process increases every BEAT seconds

A process claims a block by creating its claim, which only one process can do, and removes the claim
when the block is finished. Any number of processes may start and end at any time, on one machine or
many; all they share is the storage of the cache.

A process that was killed leaves its claims behind. They are *stale*, and others may take over the
blocks, if the process is known to have ended, or if its counter stays the same for STALE seconds by
the clock of the watching process; clocks of different machines are never compared. That a process
has ended is known at once where it had the same process ids (the same boot of the same machine or
container). A stale claim of number N is taken over by creating number N + 1, so that only one
process succeeds here, too.

A claim is advice. If two processes make one block after all, they write the same bytes, and a
reader never looks at claims.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import TracebackType

from precompute.process_name import is_alive, is_process_name, own_name
from shared.errors import InputError, StorageError
from shared.files.in_threads import in_threads
from shared.files.protocol import Files
from shared.records.receipt import block_name
from shared.stop import check

BEAT = 2.0  # seconds
STALE = 30.0
POLL = 0.2  # between two looks, while waiting
MOST_BYTES = 1 << 16

CLAIM = re.compile(r"\.claim~v(\d{4,9})-b(\d{6,12})~(\d{1,6})")
ALIVE = ".alive~"

Unit = tuple[int, int]  # view, block


class Claims:
    """The claims of this process on the blocks of a split. Open them before claiming anything."""

    def __init__(
        self,
        files: Files,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.clock = clock
        self._files = files
        self._pause = pause
        self._name = own_name()
        self._mine: dict[Unit, int] = {}  # -> number of the claim
        self._stale: set[str] = set()  # names of claims
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> "Claims":
        self._files.write(ALIVE + self._name, b"0")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Releases all claims."""
        self._ended.set()
        self._thread.join(BEAT)
        for unit in list(self._mine):
            self.release(unit)
        _remove(self._files, [ALIVE + self._name])

    def held(self) -> tuple[dict[Unit, str], int]:
        """The names of all claims, and the number of processes. One listing."""
        names = self._files.names(".")
        latest: dict[Unit, tuple[int, str]] = {}
        for name in names:
            if found := CLAIM.fullmatch(name):
                view, block, number = map(int, found.groups())
                latest[view, block] = max(latest.get((view, block), (-1, "")), (number, name))
        processes = sum(name.startswith(ALIVE) for name in names)
        return {unit: name for unit, (_, name) in latest.items()}, processes

    def is_free(self, unit: Unit, held: Mapping[Unit, str]) -> bool:
        return unit not in held or held[unit] in self._stale

    def claim(self, units: Iterable[Unit], held: Mapping[Unit, str]) -> list[Unit]:
        """Claims `units`, which are free; returns those that no other process claimed first."""

        def won(unit: Unit) -> bool:
            number = _number(held[unit]) + 1 if unit in held else 0
            if not self._files.write_new(_claim(unit, number), self._name.encode()):
                return False
            self._mine[unit] = number
            return True

        units = list(units)
        return [unit for unit, mine in zip(units, in_threads(won, units), strict=True) if mine]

    def release(self, unit: Unit) -> None:
        """Removes the claim on a block, and those that it superseded."""
        number = self._mine.pop(unit)
        _remove(self._files, [_claim(unit, each) for each in range(number + 1)])

    def settle(self, undone: Callable[[], Collection[Unit]]) -> bool:
        """Waits until it is known whether the processes that hold claims on `undone` are alive.

        For at most STALE seconds. Returns whether there is something to claim. Raises Stopped."""
        start = self.clock()
        first: dict[str, bytes] = {}  # process -> its counter at the start
        while True:
            held, _ = self.held()
            wanted = undone()
            if any(unit not in held for unit in wanted):
                return True
            claims = {held[unit] for unit in wanted}
            unknown = {name for name in claims - self._stale if not self._judge(name, first)}
            if self.clock() - start >= STALE:
                self._stale |= unknown
                unknown.clear()
            if claims & self._stale:
                return True
            if not unknown:
                return False
            check()
            self._pause(POLL)

    def _judge(self, claim: str, first: dict[str, bytes]) -> bool:
        """Whether it is known if the process that holds `claim` is alive; notes a stale claim."""
        owner = self._read(claim).decode("ascii", "replace")
        if not is_process_name(owner):
            return False  # removed in this moment, or not written by this program
        alive = is_alive(owner)
        if alive is None:
            count = self._read(ALIVE + owner)
            return count not in (b"", first.setdefault(owner, count))
        if not alive:
            self._stale.add(claim)
        return True

    def _keep_alive(self) -> None:
        count = 0
        while not self._ended.wait(BEAT):
            count += 1
            with suppress(InputError, StorageError):
                self._files.write(ALIVE + self._name, str(count).encode())

    def _read(self, name: str) -> bytes:
        """b"" if the file is not there, or is something else."""
        with suppress(FileNotFoundError, InputError):
            return self._files.read(name, MOST_BYTES)
        return b""


def _claim(unit: Unit, number: int) -> str:
    return f".claim~{block_name(*unit)}~{number}"


def _number(name: str) -> int:
    return int(name.rpartition("~")[2])


def _remove(files: Files, names: Iterable[str]) -> None:
    """What cannot be removed does no harm."""
    for name in names:
        with suppress(InputError, StorageError):
            files.remove(name)


def tidy(files: Files, finished: Collection[Unit]) -> None:
    """Removes what killed processes left in a complete cache: counters, and claims on its blocks.

    A process that is still alive writes its counter again."""
    names = files.names(".")
    claims = ((name, found) for name in names if (found := CLAIM.fullmatch(name)))
    there = {*finished}
    _remove(files, [name for name, at in claims if (int(at[1]), int(at[2])) in there])
    _remove(files, [name for name in names if name.startswith(ALIVE)])
