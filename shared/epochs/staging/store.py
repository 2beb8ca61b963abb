"""The arrays of a view in shared memory, and the slots that rows of targets are written to.

    board              how far each process is (board.py)
    box, flip, guided  (2, N, ...): of the samples of two epochs
    slot               (2, N): the slot of each sample whose rows are there
    rows               of each field (S, ...): S slots, in the stored dtype

A slot is free as soon as every process of this machine has used its sample. So the next epoch's
view fills the memory that this epoch's leaves, and S is a view's samples and a few more. On several
machines each holds the rows of its own samples only.

Shapes: N samples of the split, S slots.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.epochs.staging import board
from shared.epochs.staging.board import Board
from shared.epochs.staging.node_memory import NodeMemory
from shared.targets.arrays import Field

PAGE = 4096

Layout = dict[str, tuple[int, tuple[int, ...], str]]  # name -> first byte, shape, dtype


def plan_layout(
    samples: int, slots: int, fields: dict[str, Field], guided: bool, local_size: int
) -> tuple[Layout, int]:
    """Where each array is, and the bytes of all. The rows come last, each at a page of its own."""
    found: Layout = {}
    end = board.num_bytes(local_size)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "box": ("int32", (2, samples, 4)),
        "flip": ("bool", (2, samples)),
        "guided": ("bool", (2, samples if guided else 0)),
        "slot": ("int32", (2, samples if fields else 0)),
        **{f"rows {name}": (dtype, (slots, *shape)) for name, (dtype, shape) in fields.items()},
    }
    for name, (dtype, shape) in wanted.items():
        start = -(-end // PAGE) * PAGE
        found[name] = start, shape, dtype
        end = start + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return found, end


class Store:
    """The arrays, the same in every process of a machine."""

    def __init__(
        self, memory: NodeMemory, layout: Layout, local_rank: int, local_size: int
    ) -> None:
        self._memory, self._layout = memory, layout
        self.board = Board(memory, local_rank, local_size)
        arrays = {name: memory.array(*where) for name, where in layout.items()}
        self.box, self.flip = arrays.pop("box"), arrays.pop("flip")
        self.guided, self.slot = arrays.pop("guided"), arrays.pop("slot")
        self.rows: dict[str, NDArray[Any]] = {
            name.removeprefix("rows "): rows for name, rows in arrays.items()
        }
        self.slots = min((len(rows) for rows in self.rows.values()), default=0)

    def reserve(self, start: int, stop: int) -> None:
        """Takes the memory of these slots from the file system; raises OSError if it is full."""
        for name, rows in self.rows.items():
            each = rows.nbytes // len(rows)
            first = self._layout[f"rows {name}"][0]
            self._memory.reserve(first + start * each, (stop - start) * each)

    def reserve_others(self) -> None:
        """The same for all that is not in slots."""
        rows = [start for name, (start, _, _) in self._layout.items() if name.startswith("rows ")]
        self._memory.reserve(0, min(rows, default=self._memory.num_bytes))
