"""A command of this project that halts at one of its writes, so that a signal meets it there.

    python tests/halting.py PATTERN COUNT NOTE precompute/run.py --split train ...

It halts as soon as it has given the COUNT-th file its final name of those whose path matches
PATTERN, and writes NOTE. A signal that it heeds, or SIGUSR1, lets it go on.
"""

import fnmatch
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

GO = signal.SIGUSR1
SIGNALS = {GO, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Halting:
    def __init__(self, pattern: str, count: int, note: Path) -> None:
        self.pattern, self.count, self.note = pattern, count, note
        # Every signal that a handler of Python's is there for is a byte in this pipe, whichever
        # thread it met, and one that comes before anything waits is not lost.
        self.signals, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(GO, lambda number, frame: None)

    def after(self, publish: Callable[..., None]) -> Callable[..., None]:
        def named(source: object, target: object, **options: object) -> None:
            publish(source, target, **options)
            if fnmatch.fnmatch(str(target), self.pattern):
                self.count -= 1
                if self.count == 0:
                    self.note.touch()
                    while os.read(self.signals, 1)[0] not in SIGNALS:
                        pass

        return named


if __name__ == "__main__":
    halting = Halting(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    del sys.argv[:4]
    os.replace, os.link = halting.after(os.replace), halting.after(os.link)
    runpy.run_path(sys.argv[0], run_name="__main__")
