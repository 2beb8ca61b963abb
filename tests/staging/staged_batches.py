"""The batches of one process of a run, without images and a student; for the tests beside this.

    python tests/staging/staged_batches.py CACHE OUT [--epochs N] [--at EPOCH,STEP] [--until STEP]
        [--batch-size N] [--window BYTES] [--stage DIR] [--stall PIECES]

OUT/RANK.pt gets what each step's batch holds, OUT/RANK.reads the files of arrays that the process
read, a line each time. With --stall, reading halts after so many pieces of
rows, and OUT/stalled is made.
"""

import argparse
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from shared.distributed import connect, disconnect, read_world
from shared.epochs import windows
from shared.epochs.cached_views import CachedViews
from shared.epochs.order import process_share
from shared.epochs.staging import reader
from shared.errors import run_command
from shared.stop import StopRequest
from shared.store.opening import Arrays, Cache, open_cache
from tests.small_cache import make_labels
from train.recipe import Recipe
from train.recipes import get_recipe

BATCH = 9
CPU = torch.device("cpu")


def make_recipe(epochs: int) -> Recipe:
    """With channel means, logits and a guided mask."""
    return get_recipe("s_resnet18.t_resnet34.cd.ce.kdv2").scaled(epochs)


def plans_of(cache: Cache, batch_size: int) -> windows.Epochs:
    samples = np.delete(np.arange(cache.manifest.samples), [3, 5])  # as if they were skipped
    needed = cache.manifest.encoding.needed(make_recipe(1).needs)
    return windows.Epochs(cache.manifest, samples, needed, batch_size, seed=1)


def main() -> int:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("cache")
    add("out", type=Path)
    add("--epochs", type=int, default=2)
    add("--at", default="0,0")
    add("--until", type=int, default=1 << 30)
    add("--batch-size", type=int, default=BATCH)
    add("--window", type=int, default=windows.MOST_BYTES)
    add("--stage", type=Path)
    add("--stall", type=int)
    flags = parser.parse_args()
    windows.MOST_BYTES = flags.window
    if flags.stall is not None:
        stall(flags.stall, flags.out / "stalled")
    world, cache = read_world(), open_cache(flags.cache, "train")
    reads = counted(cache)
    connect(world, CPU)
    plan = lru_cache(plans_of(cache, flags.batch_size).plan)
    labels = torch.from_numpy(make_labels(cache.manifest.samples))
    with StopRequest() as stop:
        stop.unsaved = world.size > 1
        views = CachedViews(
            *(cache, make_recipe(flags.epochs), labels, True, CPU, plan),
            world=world,
            folder=flags.stage,
        )
        found: list[dict[str, Any]] = []
        epoch, first = map(int, flags.at.split(","))
        while epoch < flags.epochs:
            views.begin(epoch, first)
            for step in range(first, min(flags.until, len(plan(epoch).steps))):
                index = process_share(plan(epoch).steps[step], world)
                box, flip = views.boxes(step, index)
                batch = views.batch(step, torch.from_numpy(index))
                assert batch.targets is not None
                views.done(step)
                found.append(
                    {
                        **{"epoch": epoch, "step": step, "index": index.tolist()},
                        **{"box": torch.from_numpy(box), "flip": torch.from_numpy(flip)},
                        **{"labels": batch.labels, "guided": batch.guided},
                        **{"guided_count": batch.guided_count, **batch.targets},
                    }
                )
            epoch, first = epoch + 1, 0
    torch.save(found, flags.out / f"{world.rank}.pt")
    views.close()
    (flags.out / f"{world.rank}.reads").write_text("\n".join(reads))
    disconnect(world)
    return 0


def counted(cache: Cache) -> list[str]:
    """Gets the path of every file of arrays that is read from now on."""
    read, reads = cache.files.read, list[str]()

    def noted(path: str, *limits: int) -> bytes:
        if "/c/" in path:
            reads.append(path)
        return read(path, *limits)

    cache.files.read = noted  # type: ignore[method-assign]
    return reads


def stall(pieces: int, note: Path) -> None:
    read = reader.read_piece

    def stalling(
        cache: Cache, view: int, piece: windows.Piece, names: list[str], into: Arrays
    ) -> Arrays:
        nonlocal pieces
        if names != ["box", "flip"]:
            pieces -= 1
            while pieces < 0 and threading.main_thread().is_alive():
                note.touch()
                time.sleep(0.01)
        return read(cache, view, piece, names, into)

    reader.read_piece = stalling


if __name__ == "__main__":
    run_command(main)
