"""Processes that hold a temporary file, stopped in the middle of a write: inside its fsync."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import ROOT

WRITER = """
import os, socket, sys, threading, time
from pathlib import Path
from shared.files.local import LocalFiles
def halt(descriptor):
    print("writing", 0, flush=True)
    time.sleep(3600)
os.fsync = halt
{before}
LocalFiles(Path(sys.argv[1])).write("a", b"half")
"""


@dataclass
class Writer:
    process: subprocess.Popen[str]
    child: int  # that it forked in the middle of its write; 0: none


@contextlib.contextmanager
def writer(folder: Path, before: str = "", wrapper: tuple[str, ...] = ()) -> Iterator[Writer]:
    """A process that holds a half-written temporary file."""
    command = [*wrapper, sys.executable, "-c", WRITER.format(before=before), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        child = 0
        try:
            assert process.stdout is not None
            word, number = process.stdout.readline().split()
            assert word == "writing"
            child = int(number)
            yield Writer(process, child)
        finally:
            process.kill()
            if child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def temporaries(folder: Path) -> list[Path]:
    return sorted(folder.glob(".tmp~*"))
