"""The main function of precompute/run.py: from flags to a complete cache.

Steps: open the source, load the teacher, open or create the cache, list the blocks that are missing
or damaged, make them.
"""

import argparse
import time

from precompute.banner import banner
from precompute.claims import Claims, tidy
from precompute.dealing import Dealer
from precompute.estimate import require_space
from precompute.fill import fill
from precompute.job import make_job
from precompute.memory import require_fitting
from precompute.missing import missing
from precompute.skips import Skips
from precompute.tell_tails import tell_tails
from shared.distributed import read_world
from shared.epochs.small_crops import note_small_crops
from shared.errors import printable
from shared.store.checks import note_arithmetic, require_same_pixels
from shared.store.opening import create_cache
from shared.store.tails_file import keep_tails


def make(flags: argparse.Namespace) -> int:
    world = read_world()
    job = make_job(flags, world.local_rank)
    source, head = job.source, job.teacher.head
    require_fitting(job, flags.cache, world)
    cache = create_cache(flags.cache, job.manifest, source.labels, source.keys, head)
    manifest = cache.manifest
    units = list(cache.units())
    before = {*cache.receipt_names()}
    # Each process of a run hashes its share, and may make what it finds damaged.
    hashed = units[world.rank :: world.size] if flags.check else []
    todo = missing(cache, units, source, hashed)
    print(banner(job, cache, todo, len(units), world), flush=True)
    if todo and world.is_first:
        note_small_crops(source, manifest.policy, manifest.size)
    require_space(cache, job.source, todo)
    if todo:
        made = {(work.view, work.block) for work in todo if "" in work.layers}
        require_same_pixels(cache, job.source, sorted({*units} - made))
    started = time.perf_counter()
    skips = Skips.of(cache, units, flags.skip_bad)
    dealer = Dealer(cache, job, todo, skips, before, world, Claims(cache.files))
    images = fill(cache, job, todo, skips, dealer)
    cache.files.remove_stale()
    seconds = time.perf_counter() - started
    speed = f"{images:,} views in {seconds:.1f} s ({images / max(seconds, 1e-9):.0f} images/s)"
    if not cache.is_complete():
        print(f"done here: {speed}; other processes' blocks are still to come")
        return 0
    tidy(cache.files, units)
    cache.keep_index()
    skipped = cache.skipped()
    print(
        f"done: {speed}; {cache.num_bytes() / manifest.samples:,.0f} bytes a view on disk; "
        f"{len(skipped)} images skipped"
    )
    for _, key, reason in skipped:
        print(printable(f"  skipped {key}: {reason}"))
    keeps_channels = manifest.encoding.offers("channels")
    if manifest.split == "train" and keeps_channels and len(skipped) < manifest.samples:
        tell_tails(keep_tails(cache))
    note_arithmetic(cache)
    return 0
