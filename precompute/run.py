"""Runs the teacher once over fixed views of every image and keeps what it said.

    python precompute/run.py --split train
    python precompute/run.py --split train --images data/imagenet --cache data/teacher_cache \
        --teacher resnet34 --weights IMAGENET1K_V1 --views 10 --codec half
    torchrun --nproc-per-node 8 precompute/run.py --split train ...     (on any number of machines)

Steps: open the source, load the teacher, open or create the cache, list the blocks that are not
there or not intact, make them. Kill it at any instant and start it again: it goes on, and the
cache ends byte for byte the same.
"""

import argparse
import sys
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from precompute.estimate import require_space
from precompute.fill import fill
from precompute.job import add_flags, make_job
from precompute.skips import Skips
from shared.checks import note_arithmetic, require_same_pixels
from shared.distributed import read_world
from shared.errors import run_command
from shared.store.cache import create_cache


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the teacher once and writes the cache.")
    add_flags(parser)
    flags = parser.parse_args()
    world = read_world()
    job = make_job(flags, world.local_rank)
    source, head = job.source, job.teacher.head
    cache = create_cache(flags.cache, job.manifest, source.labels, source.keys, head)
    manifest = cache.manifest
    # Whole blocks, dealt out in turn: ranks share no file and need not know of each other.
    units = list(cache.units())[world.rank :: world.size]
    checking = tqdm(units, "checking", leave=False, disable=None)
    todo = [(v, b) for v, b in checking if not cache.is_done(v, b, job.source)]
    process = f", process {world.rank} of {world.size}" if world.size > 1 else ""
    print(
        f"{cache.where}: {manifest.samples:,} images x {manifest.views} views of {manifest.size} "
        f"px, codec {manifest.codec}, cache {manifest.cache_id()}{process}; "
        f"{len(units) - len(todo)} of {len(units)} blocks are there",
        flush=True,
    )
    require_space(cache, job.source, todo, world.size)
    if todo:
        require_same_pixels(cache, job.source, sorted({*units} - {*todo}))
    started = time.perf_counter()
    images = fill(
        cache,
        job.source,
        job.teacher,
        todo,
        flags.batch_size,
        job.workers,
        job.device,
        Skips.of(cache, units, flags.skip_bad),
    )
    cache.files.remove_stale()
    seconds = time.perf_counter() - started
    speed = f"{images:,} views in {seconds:.1f} s ({images / max(seconds, 1e-9):.0f} images/s)"
    if not cache.is_complete():
        print(f"done here: {speed}; other processes' blocks are still to come")
        return 0
    skipped = cache.skipped()
    print(
        f"done: {speed}; {cache.num_bytes() / manifest.samples:,.0f} bytes a view on disk; "
        f"{len(skipped)} images skipped"
    )
    for _, key, reason in skipped:
        print(f"  skipped {key}: {reason}")
    note_arithmetic(cache)
    return 0


if __name__ == "__main__":
    run_command(main)
