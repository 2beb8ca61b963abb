"""A polite end: SIGTERM (a scheduler takes the machine back) and SIGINT (Ctrl-C) as a question.

The loop asks between two steps, saves and leaves. A second signal ends the process at once.
"""

import os
import signal
from types import FrameType


class StopRequest:
    def __init__(self) -> None:
        self.signal: int | None = None  # that came, if one did

    def listen(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = number


def leave_stopping_to_parent(worker: int) -> None:
    """For loader workers: Ctrl-C goes to every process of a terminal, and they must not end first.

    SIGTERM ends them as it always does: that is how a loader ends workers that hang.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
