"""Runs the teacher once over fixed views of every image and keeps what it said.

    python precompute/run.py --split train
    python precompute/run.py --split train --images data/imagenet --cache data/teacher_cache \
        --teacher resnet34 --weights IMAGENET1K_V1 --views 10 --codec half

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

from precompute.blocks import compute_blocks
from precompute.job import add_flags, make_job
from shared.errors import run_command
from shared.store.cache import create_cache


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the teacher once and writes the cache.")
    add_flags(parser)
    flags = parser.parse_args()
    job = make_job(flags)
    cache = create_cache(flags.cache, job.manifest, job.source)
    manifest = cache.manifest
    units = list(cache.units())
    todo = [
        unit
        for unit in tqdm(units, "checking", leave=False, disable=None)
        if not cache.is_done(*unit)
    ]
    print(
        f"{cache.where}: {manifest.samples:,} images x {manifest.views} views of {manifest.size} "
        f"px, codec {manifest.codec}, cache {manifest.cache_id()}; {len(units) - len(todo)} of "
        f"{len(units)} blocks are there"
    )
    started = time.perf_counter()
    blocks = compute_blocks(
        manifest,
        job.source,
        job.teacher,
        todo,
        flags.batch_size,
        job.workers,
        job.device,
        flags.skip_bad,
    )
    images = 0
    total = sum(len(manifest.rows(block)) for _, block in todo)
    with tqdm(total=total, unit="img", desc="teacher", disable=None) as progress:
        for block in blocks:
            cache.write(block, job.source)
            images += len(block.pred)
            progress.update(len(block.pred))
    cache.files.remove_stale()
    seconds = time.perf_counter() - started
    size = cache.num_bytes()
    skipped = cache.skipped()
    print(
        f"done: {images:,} views in {seconds:.1f} s ({images / max(seconds, 1e-9):.0f} images/s); "
        f"{size / manifest.samples:,.0f} bytes a view on disk; {len(skipped)} images skipped"
    )
    for _, key, reason in skipped:
        print(f"  skipped {key}: {reason}")
    return 0


if __name__ == "__main__":
    run_command(main)
