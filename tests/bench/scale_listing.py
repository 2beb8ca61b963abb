"""Eight processes that need the listing of a source at the same time: with the lock and without.

    python tests/bench/scale_listing.py --folder DIR [--images 200000] [--processes 8]

An ImageFolder of empty files in 1000 classes is made in DIR. Seconds from the start of the listing
until all have it, and processor seconds of all processes. The folder's entries are in the page
cache; a network disk is slower by far.

100,000 files in /dev/shm, 2 cores, 2026-11-27, beside much other work: without the lock 69 and 61
seconds, 10.1 and 10.1 of processor time; with it 12 and 11 seconds, 1.9 and 1.8.
"""

import argparse
import multiprocessing
import shutil
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.images import listing_lock
from shared.images import source as images

CLASSES = 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=8)
    flags = parser.parse_args()
    for number in range(CLASSES):
        path = flags.folder / "images" / "train" / f"class{number:04d}"
        path.mkdir(parents=True, exist_ok=True)
        for image in range(flags.images // CLASSES):
            (path / f"{image}.jpg").touch()
    print("| lock | seconds | processor seconds |\n|---|---:|---:|")
    for locked in (False, True, False, True):
        seconds, spent = beside_each_other(flags.folder, flags.processes, locked)
        print(f"| {'yes' if locked else 'no'} | {seconds:.1f} | {spent:.1f} |", flush=True)


def beside_each_other(folder: Path, processes: int, locked: bool) -> tuple[float, float]:
    shutil.rmtree(folder / "data", ignore_errors=True)
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=child, args=(folder, locked, start, answers))
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    found = [answers.get() for _ in started]
    for process in started:
        process.join()
    begun, ended, spent = zip(*found, strict=True)
    return max(ended) - min(begun), sum(spent)


def child(folder: Path, locked: bool, start: Barrier, answers: "multiprocessing.Queue") -> None:  # type: ignore[type-arg]
    images.DATA = folder / "data"
    if not locked:
        listing_lock.ListingLock._taken = lambda self: True  # type: ignore[method-assign]
    start.wait()
    begun, before = time.monotonic(), time.process_time()
    images.open_source(str(folder / "images"), "train")
    answers.put((begun, time.monotonic(), time.process_time() - before))


if __name__ == "__main__":
    main()
