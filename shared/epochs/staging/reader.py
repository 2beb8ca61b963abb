"""Reads pieces of views from the cache into shared memory, in threads of one process a machine.

Several threads take the next piece in turn, wait for free slots, read and decode it, and write its
rows into the slots. Another thread reads boxes and flips, which loader workers ask for before the
steps that use the rows. Each is at most an epoch ahead of the steps.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.epochs.staging.pieces import Task, as_slice, read_piece, samples_of
from shared.epochs.staging.schedule import Part, Schedule, share_here
from shared.epochs.staging.slots import FreeSlots, require_slots
from shared.epochs.staging.store import Store
from shared.errors import InputError, StorageError
from shared.files.retry import one_line
from shared.limits import limit_line
from shared.store.opening import Arrays, Cache

PAUSE = 0.005  # seconds between two looks at what the steps have freed
Mask = Callable[[Arrays, slice], NDArray[np.bool_]]  # pred and fields of samples -> guided


class Reader:
    def __init__(
        self,
        cache: Cache,
        fields: list[str],
        mask: Mask | None,
        store: Store,
        schedule: Schedule,
        threads: int,
        copied: bool,
    ) -> None:
        """Starts reading. `mask`: computes what is guided, if the recipe has a guide.

        `copied`: slots are free when every process has copied them to its GPU; else when every
        process has made the step that uses them.
        """
        self.error: Exception | None = None
        self._cache, self._fields, self._mask = cache, fields, mask
        self._store, self._schedule, self._copied = store, schedule, copied
        self._names = [*fields, *(["pred"] if mask is not None else [])]
        self._slots = FreeSlots(store)
        self._stopped = False
        self._freed = 0  # steps whose slots have been given back
        self._freeing = 0  # the place in the schedule of the next of them
        self._taken: deque[tuple[int, NDArray[np.int64]]] = deque()  # (piece, slots)
        self._turn, self._counting = threading.Lock(), threading.Lock()
        self._finished: set[int] = set()
        self._tasks = self._all_tasks()
        works = [self._read_boxes, *([self._read_rows] * threads if self._names else [])]
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=f"views {number}")
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits until no thread writes any more."""
        self._stopped = True
        for thread in self._threads:
            thread.join()
        self._tasks = iter(())  # the generator refers to this object, which has all the memory

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = self.error or error
            line = str(error) if isinstance(error, InputError | StorageError) else limit_line(error)
            self._store.board.fail(line or f"reading the cache failed: {one_line(error)}")
            self._stopped = True

    def _wait(self, ready: Callable[[], bool]) -> bool:
        """Waits for `ready()`; False if reading shall stop."""
        while not ready():
            if self._is_over():
                return False
            time.sleep(PAUSE)
        return not self._is_over()

    def _is_over(self) -> bool:
        # The main thread may end by an error that leaves this running.
        return self._stopped or not threading.main_thread().is_alive()

    def _parts(self, free: Callable[[], int]) -> Iterator[Part]:
        """The epochs to read, each as soon as `free()` steps include those of the last but one."""
        place, before = 0, 0
        while (part := self._schedule.part(place)) is not None and part.reads:
            if place > 1 and not self._wait(lambda least=before: free() >= least):  # type: ignore[misc]
                return
            yield part
            place, before = place + 1, part.step

    def _read_boxes(self) -> None:
        manifest, store = self._cache.manifest, self._store
        for part in self._parts(store.board.steps_of_all):
            there: set[int] = set()
            for number, piece in enumerate(part.plan.pieces, part.piece):
                if self._is_over():
                    return
                block = manifest.rows(piece.block)
                samples = slice(block.start, block.stop)
                # A block at a time, because they are small: 0.2 MB.
                if piece.block not in there and part.needed[samples].any():
                    found = self._cache.read_block(part.view, piece.block, ["box", "flip"])
                    store.box[part.half, samples] = found["box"]
                    store.flip[part.half, samples] = found["flip"]
                there.add(piece.block)
                store.board.set_boxes(number + 1)

    def _read_rows(self) -> None:
        while True:
            with self._turn:
                task = next(self._tasks, None)
            if task is None:
                return
            self._read(task)
            self._finish(task.number)

    def _all_tasks(self) -> Iterator[Task]:
        """What to read, with slots. Only one thread at a time may be in here."""
        block = self._cache.manifest.block
        for part in self._parts(self._give_back):
            if not self._copied:
                require_slots(part, block, self._store.slots)
            for number, piece in enumerate(part.plan.pieces, part.piece):
                samples = samples_of(piece, block)
                if not part.needed[samples].any():
                    self._finish(number)
                    continue
                here = part.needed_here[samples]
                count = int(here.sum()) if self._fields else 0
                if not self._wait(partial(self._has_free, count)):
                    return
                slots = self._slots.take(count)
                if self._copied:
                    self._taken.append((number, slots))
                yield Task(part, number, piece, samples, here, slots)

    def _has_free(self, count: int) -> bool:
        if self._slots.count < count:
            self._give_back()
        return self._slots.count >= count

    def _give_back(self) -> int:
        """Gives back slots that are not used any more. Returns the steps that are over."""
        board, fields = self._store.board, self._fields
        steps = board.steps_of_all()
        if self._copied:
            copied = board.copied_by_all()
            while self._taken and self._taken[0][0] < copied:
                self._slots.give_back(self._taken.popleft()[1])
            return steps
        while self._freed < steps:
            part = self._schedule.part(self._freeing)
            assert part is not None
            if self._freed == part.end_step:
                self._freeing += 1
                continue
            samples = part.plan.steps[part.first + self._freed - part.step]
            if fields and not part.keeps:
                samples = share_here(samples, part.world)
                self._slots.give_back(self._store.slot[part.half, samples])
            self._freed += 1
        return self._freed

    def _read(self, task: Task) -> None:
        store, half = self._store, task.part.half
        slots = as_slice(task.slots)
        whole = isinstance(slots, slice) and bool(task.here.all())
        into = {name: store.rows[name][slots] for name in self._fields} if whole else {}
        found = read_piece(self._cache, task.part.view, task.piece, self._names, into)
        if self._mask is not None:
            store.guided[half, task.samples] = self._mask(found, task.samples)
        if not self._fields:
            return
        some = slice(None) if task.here.all() else task.here
        for name in self._fields:
            if found[name] is not into.get(name):
                store.rows[name][slots] = found[name][some]
        store.slot[half, task.samples][some] = task.slots

    def _finish(self, number: int) -> None:
        """Counts the pieces up to the first that is not there yet."""
        with self._counting:
            self._finished.add(number)
            rows = self._store.board.rows
            while rows in self._finished:
                self._finished.remove(rows)
                rows += 1
            self._store.board.set_rows(rows)
