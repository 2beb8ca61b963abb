"""A run's views in memory that the processes of a machine share, epoch after epoch.

One process of each machine reads (reader.py); all of them take the rows of their samples from the
slots, or from the GPU if it keeps them (shared/epochs/view_home.py).

Shapes: N samples in the split, B in a batch.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import moved, processes_here, usable_cores
from shared.distributed import World
from shared.epochs.staging.device_views import DeviceViews
from shared.epochs.staging.node_memory import NodeMemory
from shared.epochs.staging.reader import Mask, Reader
from shared.epochs.staging.schedule import Part, Plans, Samples, Schedule
from shared.epochs.staging.slots import slots_here
from shared.epochs.staging.store import Store, plan_layout
from shared.epochs.view_home import home_of_views
from shared.errors import StorageError
from shared.store.opening import Cache
from shared.targets.codecs import num_bytes

MOST_THREADS = 8  # that read and decode


class StagedViews:
    def __init__(
        self,
        cache: Cache,
        fields: list[str],
        mask: Mask | None,
        plans: Plans,
        until: int,
        device: torch.device,
        world: World,
        folder: Path | None,
        connected: World,
    ) -> None:
        """`fields`: of the targets, may be none. `mask`: computes what is guided, if anything is.
        `plans`: the plan of each epoch, of which there are `until`. `folder`: for the shared file.
        `connected`: the processes of `world` that this one can communicate with.

        Raises InputError, in all processes, if a machine has no room for the file.
        """
        self._cache, self._fields, self._mask = cache, fields, mask
        self._plans, self._until, self._world, self._device = plans, until, world, device
        assert connected == world or world.local_size == 1, "memory is shared by agreement"
        manifest, plan = cache.manifest, plans(0)
        local_rank = world.rank - world.ranks_here.start
        facts = {name: manifest.encoding.fields()[name] for name in fields}
        whole = not len(plan.ready) or int(plan.ready[0]) == len(plan.pieces)
        view_bytes = manifest.samples * num_bytes(facts)
        on_gpu = bool(facts) and whole and home_of_views(device, view_bytes).type == "cuda"
        self._threads = max(1, min(MOST_THREADS, usable_cores() // processes_here()))
        slots = slots_here(plan, world)
        if on_gpu:  # then they only hold what is being copied
            at_once = (2 * self._threads + 2) * max(len(piece.rows) for piece in plan.pieces)
            slots = min(slots, at_once)
        # If the run has no more views than can be kept, each is read once.
        most = 0 if not whole or world.local_size < world.size else 2 if on_gpu else 1
        self._kept = manifest.views if manifest.views <= most else None
        layout, total = plan_layout(
            manifest.samples, slots, facts, mask is not None, world.local_size
        )
        self._memory = NodeMemory(total, folder, connected)
        self._store = Store(self._memory, layout, local_rank, world.local_size)
        self._board = self._store.board
        self._reads = local_rank == 0  # whether this process reads for this machine
        self._reader: Reader | None = None
        self._gpu = DeviceViews(self._store, manifest, device) if on_gpu else None
        self._rows = {name: torch.from_numpy(rows) for name, rows in self._store.rows.items()}
        self._begun = 0  # how often reading began
        self._schedule: Schedule | None = None
        self._part: Part | None = None  # the epoch in use

    def begin(self, epoch: int, first: int = 0) -> None:
        """Goes to step `first` of an epoch. Reading goes on without a pause if the epoch follows.

        All processes of the run call it with the same numbers.
        """
        if (following := self._following(epoch, first)) is not None:
            self._part = following
            return
        self._stop()
        self._begun += 1
        self._board.ask(self._begun)
        self._schedule = schedule = Schedule(
            *(self._plans, epoch, first, self._until),
            *(self._kept, self._world, self._cache.manifest),
        )
        self._part = schedule.part(0)
        if self._reads:
            self._wait(lambda: self._board.all_asked(self._begun))
            self._board.begin(self._begun)
            self._reader = Reader(
                *(self._cache, self._fields, self._mask, self._store, schedule),
                *(self._threads, self._gpu is not None),
            )
        else:
            self._wait(lambda: self._board.has_begun(self._begun))
        if self._gpu is not None:
            self._gpu.begin(schedule)

    def _following(self, epoch: int, first: int) -> Part | None:
        """The part of the schedule after the one in use, if that is over and this comes next."""
        last = self._part
        if last is None or self._schedule is None or (epoch, first) != (last.epoch + 1, 0):
            return None
        return self._schedule.part(last.place + 1) if self._board.steps == last.end_step else None

    def boxes(self, step: int, index: Samples) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(B, 4) boxes and (B,) flips of samples of a step. Waits until they have been read."""
        part = self._in_use
        self._wait(lambda: self._board.boxes >= part.ready(step))
        store = self._store
        return store.box[part.half, index], store.flip[part.half, index]

    def rows(self, step: int, index: Tensor) -> dict[str, Tensor]:
        """(B, ...) of each field, on the device, for samples of a step. Waits until they are there.

        Rows of other samples may be written over at any time."""
        part = self._in_use
        self._wait(lambda: self._has_rows(part.ready(step)))
        if self._gpu is not None:
            places = moved(index, self._device)
            there = self._gpu.rows[part.half]
            return {name: rows.index_select(0, places) for name, rows in there.items()}
        if not self._fields:
            return {}
        places = torch.from_numpy(self._store.slot[part.half, index.numpy()])
        return {
            name: moved(rows.index_select(0, places), self._device)
            for name, rows in self._rows.items()
        }

    def samples(self, step: int) -> Samples:
        """The samples of a step, of all processes."""
        return self._in_use.plan.steps[step]

    @property
    def guided(self) -> NDArray[np.bool_]:
        """(N,) of the epoch in use; complete for the steps whose rows are there."""
        found: NDArray[np.bool_] = self._store.guided[self._in_use.half]
        return found

    def done(self, step: int) -> None:
        """Tells that this process has all that it needs for a step, and for those before it."""
        part = self._in_use
        self._board.set_steps(part.step + step + 1 - part.first)

    def close(self) -> None:
        self._stop()
        self._memory.close()
        self._mask = None  # it belongs to our owner: a circle would keep the memory for a while

    def _stop(self) -> None:
        if self._gpu is not None:
            self._gpu.stop()
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    @property
    def _in_use(self) -> Part:
        assert self._part is not None, "begin() comes first"
        return self._part

    def _has_rows(self, pieces: int) -> bool:
        if not self._fields and self._mask is None:
            return True
        return (self._board.rows if self._gpu is None else self._board.copied) >= pieces

    def _wait(self, ready: Callable[[], bool]) -> None:
        def looked() -> bool:
            if self._gpu is not None and self._gpu.error is not None:
                raise self._gpu.error
            return ready()

        try:
            self._board.wait(looked)
        except StorageError:
            if self._reader is not None and self._reader.error is not None:
                raise self._reader.error from None  # the same, with its cause
            raise
