"""Lists a source in a process of its own: python tests/listing.py ROOT FOLDER FEWEST GO

Every scan of the source adds a byte to FOLDER/scans and then waits for FOLDER/GO. It prints the
digest of the listing. FOLDER/data holds what is kept of at least FEWEST images.
"""

import os
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.errors import run_command
from shared.images import kept_listing
from shared.images import source as images
from shared.images.kept_listing import Stamps
from shared.images.listing import Listing
from tests.processes import wait_until

root, folder = map(Path, sys.argv[1:3])
list_folder = images.list_folder


def counted(root: Path, split: str, stamps: Stamps) -> Listing:
    scans = os.open(folder / "scans", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(scans, b".")
    os.close(scans)
    wait_until((folder / sys.argv[4]).exists)
    return list_folder(root, split, stamps)


def main() -> int:
    images.DATA = folder / "data"
    images.list_folder = counted  # type: ignore[assignment]
    kept_listing.FEWEST = int(sys.argv[3])
    print(images.open_source(str(root), "train").digest, flush=True)
    return 0


if __name__ == "__main__":
    run_command(main)
