"""tests/staging/staged_batches.py CACHE OUT, with --stage OUT on a disk that is nearly full."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.epochs.staging import room
from shared.errors import run_command
from tests.staging.staged_batches import main

if __name__ == "__main__":
    room._free = lambda folder: 1000
    sys.argv += ["--stage", sys.argv[2]]
    run_command(main)
