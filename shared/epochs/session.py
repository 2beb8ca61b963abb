"""What the loops over a cache share: loader workers, threads that read, and memory for a view.

All of it lives from the first step of a loop until the last, and on to the loop over the next
epoch, whose view is read meanwhile. A loop that is left early ends it. A new loop ends one that is
not over.
"""

import os
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from shared.errors import InputError


class Closable(Protocol):
    def close(self) -> None: ...


Feed = TypeVar("Feed", bound=Closable)


class Session(Generic[Feed]):
    def __init__(self) -> None:
        self._feed: Feed | None = None
        self._key: Hashable = None
        self._turn = 0  # of the loop that runs, or of the last one
        self._running = False
        self._process = os.getpid()

    def feed(self, key: Hashable, make: Callable[[], Feed]) -> Feed:
        """The feed of `key`, made if there is none. Ends one of another key."""
        if self._feed is None or key != self._key:
            self.close()
            self._feed, self._key = make(), key
        return self._feed

    def begin(self, key: Hashable, make: Callable[[], Feed]) -> tuple[Feed, int]:
        """For a loop that begins: the feed, and the number of its turn."""
        if self._running:
            self.close()
        self._turn += 1
        feed = self.feed(key, make)
        self._running = True
        return feed, self._turn

    def require_turn(self, turn: int) -> None:
        if turn != self._turn or not self._running:
            raise InputError(
                "this loop is over, as another one over the same cache was begun, or the cache was "
                "closed: run one after the other, or open a second TeacherCache for the second loop"
            )

    def end(self, turn: int, keep: bool) -> None:
        """For a loop that ends. `keep`: another one may follow."""
        if turn == self._turn and self._running:
            self._running = False
            if not keep:
                self.close()

    def close(self) -> None:
        """Ends workers and threads, and frees the memory."""
        feed, self._feed, self._running = self._feed, None, False
        # A forked process has a copy of this, and must leave the parent's workers alone.
        if feed is not None and self._process == os.getpid():
            feed.close()
