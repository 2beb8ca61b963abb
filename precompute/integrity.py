"""What precompute/verify.py checks, in this order:

1. Integrity: every block of every view has its receipt, every file the hash in it, every sample of
   every view is covered once.
2. Pixels: the views that receipts carry checksums of are made again and compared.
3. Cached against live: N views, spread evenly over samples and views, are replayed through decoder
   and teacher, and every stored number compared. Allowed: the codec's stated bound, and noise of
   the arithmetic where the teacher ran elsewhere.
4. Negative control: the same cached numbers against a *wrong* view of the same image. Every one
   must fail check 3, otherwise that check proves nothing.
"""

import argparse
import sys

import numpy as np
from tqdm import tqdm

from precompute.compare import BATCH, check_targets
from precompute.fill import fill
from shared.checks import require_pixels, require_source
from shared.device import default_workers, pick_device
from shared.errors import InputError
from shared.images import ImageSource, open_source
from shared.store.cache import Cache, create_cache, open_cache
from shared.teacher import cached_teacher

Unit = tuple[int, int]  # (view, block)
STATIC: Unit = (-1, -1)


def verify(flags: argparse.Namespace) -> int:
    if flags.samples < 0:
        raise InputError(f"--samples must be 0 or more: got {flags.samples}")
    cache = open_cache(flags.cache, flags.split)
    manifest = cache.manifest
    source = None
    if manifest.format == "zarr" or flags.images:
        spec = flags.images or manifest.source.spec
        source = open_source(spec, manifest.split, limit=manifest.samples)
        require_source(cache, source)
    damaged = find_damage(cache, source)
    if flags.repair and damaged:
        damaged = repair(cache, source, damaged, flags)
    failures = list(damaged.values())
    if not failures and flags.samples:
        device = pick_device(flags.device)
        teacher = cached_teacher(manifest, flags.weights, device)
        failures += check_pixels(cache, source)
        failures += check_targets(cache, source, teacher, flags.samples, device)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    print(f"{cache.where}: {'FAILED' if failures else 'verified'}")
    return 1 if failures else 0


def find_damage(cache: Cache, source: ImageSource | None) -> dict[Unit, str]:
    """What is wrong with the files, by (view, block); (-1, -1) stands for files of no block."""
    damaged: dict[Unit, str] = {}
    try:
        # The metadata of view shards have no labels in them, and no source is opened for them.
        labels = np.zeros(cache.manifest.samples, np.int64) if source is None else source.labels
        cache.check_static(labels)
    except InputError as error:
        damaged[STATIC] = str(error)
    units = list(cache.units())
    for view, block in tqdm(units, "hashing", leave=False, disable=None):
        try:
            cache.check_block(view, block, source)
        except InputError as error:
            damaged[view, block] = str(error)
    print(
        f"integrity: {len(units) - len(damaged.keys() - {STATIC})} of {len(units)} blocks intact, "
        f"{cache.manifest.samples:,} samples x {cache.manifest.views} views"
    )
    return damaged


def repair(
    cache: Cache, source: ImageSource | None, damaged: dict[Unit, str], flags: argparse.Namespace
) -> dict[Unit, str]:
    """Makes what is damaged anew, and nothing else; returns what is still damaged."""
    manifest = cache.manifest
    for text in damaged.values():
        print(f"repairing: {text}", file=sys.stderr)
    source = source or open_source(
        flags.images or manifest.source.spec, manifest.split, limit=manifest.samples
    )
    require_source(cache, source)
    device = pick_device(flags.device)
    teacher = cached_teacher(manifest, flags.weights, device)
    cache = create_cache(flags.cache, manifest, source.labels, teacher.head)
    units = sorted(damaged.keys() - {STATIC})
    known_bad = any(cache.skips(*unit) for unit in cache.units() if unit not in damaged)
    fill(cache, source, teacher, units, BATCH, default_workers(device), device, known_bad)
    return find_damage(cache, source)


def check_pixels(cache: Cache, source: ImageSource | None) -> list[str]:
    try:
        compared = require_pixels(cache, source)
    except InputError as error:
        return [str(error)]
    print(f"pixels: {compared} checksummed views made again, all equal")
    return []
