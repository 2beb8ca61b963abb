"""What a view costs a machine whose processes share it: memory, bytes read, waiting.

    python tests/bench/scale_stage.py --folder DIR [--processes 2] [--epochs 2] [--stage DIR]

DIR is that of scale.py. Starts real processes, as torchrun does, that take the batches of a run
from the cache, without images and a student, as fast as they can. Prints

    memory    the most that all processes together have beyond what they had before views were
              opened (the shared file's bytes, and of each process its share of all other pages,
              /proc/PID/smaps_rollup), by a view's bytes
    read      bytes that the machine reads an epoch, by those of the files of a view
    seconds   from opening to the first batch, and of an epoch; the CPU's of the process that reads

2 idle cores, --processes 8, codec half, 1.28 million samples, 2026-11-27: memory 6.2 to 6.4 GB for
a view of 5.02 GB (1.23 to 1.26 views; before, 81 GB), 3.94 GB read an epoch of 3.94 GB in the files
of a view, first batch after 25 s, epochs of 37 and 34 s.

2 cores, codec half. 1.28 million samples, a view of 5.02 GB, 8 processes: the shared file has 5.82
GB (1.16 views), and all of them together 6.22 GB (1.24 views) more than before, about 50 MB each
beside the file. 40,000 samples, 2 processes: 123 MB read an epoch, of 123 MB in a view's files.
"""

import argparse
import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch
from torch import distributed

from shared.distributed import connect, disconnect, read_world
from shared.epochs.cached_views import CachedViews
from shared.epochs.order import process_share
from shared.epochs.windows import Epochs
from shared.store.opening import open_cache
from shared.targets.codecs import num_bytes
from shared.units import size
from train.names import DEFAULT_RECIPE
from train.recipes import get_recipe

CPU = torch.device("cpu")
LOOK = 0.5  # seconds between two looks at the processes' memory


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--folder", type=Path, required=True)
    add("--processes", type=int, default=2)
    add("--epochs", type=int, default=2)
    add("--batch-size", type=int, default=1024)
    add("--stage", type=Path)
    flags = parser.parse_args()
    if "RANK" in os.environ:
        work(flags)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    count = str(flags.processes)
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:]],
            env={
                **os.environ,
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": count},
                **{"LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                **{"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            },
        )
        for rank in range(flags.processes)
    ]
    while any(process.poll() is None for process in processes):
        time.sleep(LOOK)


def shares(pids: list[int]) -> int:
    """Bytes of memory that processes have beside shared files, what they share counted once."""
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, number, *_ = line.split()
            if name in ("Pss_Anon:", "Pss_File:"):
                found += 1024 * int(number)
    return found


def shared_bytes(pid: int) -> int:
    """Bytes of the files in memory or on a disk that a process has open and that have no name."""
    found = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{number}"
        with contextlib.suppress(FileNotFoundError):  # that of listdir itself
            if os.readlink(path).endswith("~targets (deleted)"):
                found = 512 * os.stat(path).st_blocks
    return found


def bytes_read() -> int:
    """By all read calls of this process."""
    return int(Path("/proc/self/io").read_text().split()[1])


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def work(flags: argparse.Namespace) -> None:
    world, cache = read_world(), open_cache(flags.folder / "cache", "train")
    manifest = cache.manifest
    connect(world, CPU)
    pids: list[int] = [0] * world.size
    distributed.all_gather_object(pids, os.getpid())
    labels = torch.zeros(manifest.samples, dtype=torch.int64)
    recipe = get_recipe(DEFAULT_RECIPE).scaled(flags.epochs)
    fields = manifest.encoding.needed(recipe.needs)
    epochs = Epochs(manifest, np.arange(manifest.samples), fields, flags.batch_size, seed=0)
    distributed.barrier()
    before, most = shares(pids), 0
    distributed.barrier()
    started, cpu, read = time.perf_counter(), cpu_seconds(), bytes_read()
    first_read = read
    views = CachedViews(
        *(cache, recipe, labels, True, CPU, epochs.plan), world=world, folder=flags.stage
    )
    if world.is_first:
        facts = {name: manifest.encoding.fields()[name] for name in fields}
        view = manifest.samples * num_bytes(facts)
        print(f"{world.size} processes, a view of {size(view)} in memory, {size(before)} before")
    for epoch in range(flags.epochs):
        views.begin(epoch)
        for step, batch in enumerate(epochs.plan(epoch).steps):
            index = process_share(batch, world)
            views.boxes(step, index)
            views.batch(step, torch.from_numpy(index))
            views.done(step)
            if step == 0 and world.is_first:
                print(f"first batch after {time.perf_counter() - started:.1f} s", flush=True)
            if world.is_first and step % 200 == 0:
                most = max(most, shares(pids) + shared_bytes(os.getpid()))
        distributed.barrier()
        if world.is_first:
            now, done = time.perf_counter(), bytes_read()
            print(
                f"epoch {epoch}: {now - started:.1f} s, {cpu_seconds() - cpu:.1f} CPU s of the "
                f"process that reads, {size(done - read)} read, {size(most - before)} of memory: "
                f"{(most - before) / view:.2f} views",
                flush=True,
            )
            started, cpu, read = now, cpu_seconds(), done
    if world.is_first:
        each = (bytes_read() - first_read) / flags.epochs
        print(f"{size(each)} read an epoch, of {size(cache.num_bytes())} in the files of a view")
    views.close()
    disconnect(world)


if __name__ == "__main__":
    main()
