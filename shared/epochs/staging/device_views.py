"""Copies the rows of views to the GPU as they are read, if it keeps them (view_home.py).

Each process copies every piece from the slots in host memory as soon as it has been read, so slots
are free again after a moment. Two views have their place on the GPU for the whole run: that of this
epoch and that of the next.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.device import make_current, side_stream
from shared.epochs.staging.pieces import samples_of
from shared.epochs.staging.schedule import Part, Schedule
from shared.epochs.staging.store import Store
from shared.records.manifest import Manifest

PAUSE = 0.005  # seconds between two looks for a piece


def copy_aside(there: Tensor, start: int, rows: NDArray[Any], device: torch.device) -> None:
    """Copies rows into `there`, from row `start` on, in a side stream, and waits for that.

    Training continues meanwhile. Steps that are queued in its stream may still read what is
    overwritten, so the copy begins after them.
    """
    copying = side_stream(device, "views")
    copying.wait_stream(torch.cuda.default_stream(device))  # training runs in it
    with torch.cuda.stream(copying):
        there[start : start + len(rows)].copy_(torch.from_numpy(rows))
    copying.synchronize()


class DeviceViews:
    """The rows of two views on a GPU, and the thread that copies them there."""

    def __init__(self, store: Store, manifest: Manifest, device: torch.device) -> None:
        self.error: Exception | None = None
        self._store, self._block, self._device = store, manifest.block, device
        self._samples = manifest.samples
        self.rows: list[dict[str, Tensor]] = [
            {name: self._place(rows) for name, rows in store.rows.items()} for _ in range(2)
        ]
        self._thread: threading.Thread | None = None
        self._stopped = False

    def _place(self, rows: NDArray[Any]) -> Tensor:
        """The place of a view's rows of a field."""
        like = torch.from_numpy(rows)
        return torch.zeros((self._samples, *like.shape[1:]), dtype=like.dtype, device=self._device)

    def begin(self, schedule: Schedule) -> None:
        self._stopped = False
        self._thread = threading.Thread(target=self._run, args=(schedule,), name="to GPU")
        self._thread.start()

    def stop(self) -> None:
        """Waits until nothing is copied any more."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, schedule: Schedule) -> None:
        # The current GPU of a new thread is the first one, not that of the thread that starts it.
        # Without this, every process would take memory on the first GPU.
        make_current(self._device)
        try:
            self._copy_all(schedule)
        except Exception as error:
            self.error = error

    def _copy_all(self, schedule: Schedule) -> None:
        board, place, before = self._store.board, 0, 0
        while (part := schedule.part(place)) is not None and part.reads:
            # Steps of the last epoch but one are queued before its place is written over.
            if place > 1 and not self._wait(lambda over=before: board.steps >= over):  # type: ignore[misc]
                return
            for number in range(part.piece, part.end_piece):
                if not self._wait(lambda number=number: board.rows > number):  # type: ignore[misc]
                    return
                self._copy(part, number - part.piece)
                board.set_copied(number + 1)
            place, before = place + 1, part.step

    def _copy(self, part: Part, number: int) -> None:
        samples = samples_of(part.plan.pieces[number], self._block)
        if not part.needed_here[samples].any():
            return
        # Samples that no step uses have no slot: any row is copied for them.
        slots = self._store.slot[part.half, samples]
        for name, there in self.rows[part.half].items():
            copy_aside(there, samples.start, self._store.rows[name][slots], self._device)

    def _wait(self, ready: Callable[[], bool]) -> bool:
        while not ready():
            if self._stopped or not threading.main_thread().is_alive():
                return False
            time.sleep(PAUSE)
        return True
