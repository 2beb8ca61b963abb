"""How far the processes of a machine are: counters in shared memory, and waiting for them.

One process reads the cache for all of them (reader.py). Counters of steps and pieces begin at 0
whenever reading begins at a step that does not follow the last one: at the first step of a run, or
of a resumed one. Each such beginning has a number, which every process asks for before it goes on,
so that the reader knows when none of them uses what it is about to write over.
"""

import time
from collections.abc import Callable

import numpy as np

from shared import stop
from shared.epochs.staging.node_memory import NodeMemory
from shared.errors import InputError, StorageError
from shared.limits import AGAIN

TEXT = 8192  # bytes for the text of an error
LINE = 8  # numbers in a line of the processor's memory; each process writes in its own lines
SHORTEST, LONGEST = 0.0005, 0.02  # seconds between two looks
ALIVE_EVERY = 0.2  # seconds between two looks at whether the others live
PATIENCE = 10.0  # seconds that unsaved steps wait after a request to stop


def num_bytes(local_size: int) -> int:
    return TEXT + 8 * LINE * (1 + local_size)


class Board:
    def __init__(self, memory: NodeMemory, local_rank: int, local_size: int) -> None:
        self._memory = memory
        self._local_rank = local_rank
        self._text = memory.array(0, (TEXT,), "uint8")
        numbers = memory.array(TEXT, (1 + local_size, LINE), "int64")
        # Written by the reader: its beginning, pieces whose boxes and whose rows are there, and
        # the length of the text of an error.
        self._reader = numbers[0]
        # Written by each process: the beginning that it asked for, the steps whose rows it has
        # used, and the pieces that it has copied to its GPU.
        self._each = numbers[1:]

    def begin(self, number: int) -> None:
        self._reader[1:] = 0
        self._each[:, 1:] = 0
        self._reader[0] = number

    def set_boxes(self, pieces: int) -> None:
        self._reader[1] = pieces

    def set_rows(self, pieces: int) -> None:
        self._reader[2] = pieces

    def all_asked(self, number: int) -> bool:
        return bool((self._each[:, 0] >= number).all())

    def steps_of_all(self) -> int:
        """The steps that every process has done."""
        return int(self._each[:, 1].min())

    def copied_by_all(self) -> int:
        return int(self._each[:, 2].min())

    def fail(self, text: str) -> None:
        """Ends all processes that wait, or will, with this line."""
        data = text.encode(errors="backslashreplace")[:TEXT]
        self._text[: len(data)] = np.frombuffer(data, np.uint8)
        self._reader[3] = max(1, len(data))

    def ask(self, number: int) -> None:
        self._each[self._local_rank, 0] = number

    def has_begun(self, number: int) -> bool:
        return bool(self._reader[0] == number)

    @property
    def boxes(self) -> int:
        return int(self._reader[1])

    @property
    def rows(self) -> int:
        return int(self._reader[2])

    @property
    def steps(self) -> int:
        return int(self._each[self._local_rank, 1])

    @property
    def copied(self) -> int:
        return int(self._each[self._local_rank, 2])

    def set_steps(self, steps: int) -> None:
        self._each[self._local_rank, 1] = steps

    def set_copied(self, pieces: int) -> None:
        self._each[self._local_rank, 2] = pieces

    def wait(self, ready: Callable[[], bool]) -> None:
        """Waits until `ready()`. For the main thread.

        Raises InputError if the reader failed or another process of this machine has ended, and
        Stopped if this process was asked to stop: at once if it has made no steps, else when the
        next save is not reached soon.
        """
        pause, looked, asked = SHORTEST, time.monotonic(), None
        while not ready():
            self.require_well()
            now = time.monotonic()
            if now - looked > ALIVE_EVERY:
                looked = now
                self._require_alive()
            if stop.requested():
                asked = asked or now
                if self.steps == 0 or now - asked > PATIENCE:
                    stop.check("while targets were read")
            time.sleep(pause)
            pause = min(LONGEST, 1.5 * pause)

    def require_well(self) -> None:
        if length := int(self._reader[3]):
            raise StorageError(self._text[:length].tobytes().decode(errors="replace"))

    def _require_alive(self) -> None:
        for other in range(len(self._each)):
            if self._memory.has_ended(other):
                self.require_well()  # what it said before it ended
                which = ", the one that reads the cache," if other == 0 else ""
                raise InputError(
                    f"process {other} of this machine{which} has ended, and the others cannot go "
                    f"on without it: if it printed no reason, it was killed, most likely for lack "
                    f"of memory; {AGAIN}"
                )
