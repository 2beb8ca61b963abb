"""What precompute/verify.py checks, in this order:

1. Integrity: every block of every view has a receipt, every file has the hash in it, every sample
   of every view is covered once, and the files that belong to no block are intact.
2. Pixels: the views whose checksums are in the receipts are made again and compared. Receipts of
   the first and last block of the first and last view are used.
3. Cached against live: N views, spread evenly over samples and views, are run through decoder and
   teacher again, and every stored number is compared. The error may be up to the codec's bound plus
   numerical noise, as the teacher may have run on another machine. If it used batch statistics,
   whole batches are compared.
4. Negative control: the same cached numbers are compared with a *wrong* view of the same image.
   All of them must fail check 3, otherwise that check proves nothing.
5. Tails: channels.json follows from the stored channel means.
6. Classes: classes.safetensors, if there is one, is intact and of this cache.
"""

import argparse
import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from precompute.compare import check_targets
from precompute.compared_views import BATCH
from precompute.fill import fill
from precompute.job import Job
from precompute.skips import Skips
from precompute.tell_tails import tell_tails
from shared.device import default_workers, pick_device
from shared.errors import InputError, printable
from shared.images.listing import Keys
from shared.images.source import ImageSource, open_source
from shared.records.block import Work
from shared.records.receipt import receipt_path
from shared.store.checks import note_arithmetic, require_pixels, require_same_pixels, require_source
from shared.store.classes_file import read_classes
from shared.store.live_teacher import cached_teacher
from shared.store.opening import Cache, create_cache, open_cache
from shared.store.static_files import check_static
from shared.store.tails_file import CHANNELS, keep_tails, measure, read_tails

Unit = tuple[int, int, str]  # (view, block, layer)
STATIC: Unit = (-1, -1, "")
TAILS: Unit = (-1, -2, "")
OF_NO_BLOCK = {STATIC, TAILS}


def verify(flags: argparse.Namespace) -> int:
    if flags.samples < 0:
        raise InputError(f"--samples must be 0 or more: got {flags.samples}")
    cache = open_cache(flags.cache, flags.split)
    manifest = cache.manifest
    source = None
    if not manifest.holds_pixels or flags.images:
        spec = flags.images or manifest.source.spec
        source = open_source(spec, manifest.split, limit=manifest.samples)
        require_source(cache, source)
    damaged = find_damage(cache, source)
    if flags.repair and damaged:
        damaged = repair(cache, source, damaged, flags)
        cache = open_cache(flags.cache, flags.split)  # which knows none of the old receipts
    failures = list(damaged.values())
    if not failures and flags.samples:
        device = pick_device(flags.device)
        teacher = cached_teacher(manifest, flags.weights, device, flags.teacher)
        failures += check_pixels(cache, source)
        failures += check_targets(cache, source, teacher, flags.samples, device)
    if not damaged:
        failures += check_tails(cache)
    failures += check_classes(cache)
    for failure in failures:
        print(f"FAILED: {printable(failure)}", file=sys.stderr)
    if not damaged:
        note_arithmetic(cache)
        cache.keep_index()
    whole = "verified" if flags.samples else "intact; not compared with the teacher (--samples 0)"
    print(f"{cache.where}: {'FAILED' if failures else whole}")
    return 1 if failures else 0


def find_damage(cache: Cache, source: ImageSource | None) -> dict[Unit, str]:
    """Damaged unit -> message; the units in OF_NO_BLOCK stand for files that belong to no block."""
    damaged: dict[Unit, str] = {}
    try:
        # View shards are checked without a source: their metadata have no labels or keys.
        if source is None:
            check_static(cache, np.zeros(0, np.int64), Keys.pack([]))
        else:
            check_static(cache, source.labels, source.keys)
    except InputError as error:
        damaged[STATIC] = str(error)
    try:
        read_tails(cache)
    except InputError as error:
        damaged[TAILS] = str(error)
    units = [(*unit, layer) for unit in cache.units() for layer in cache.manifest.layers]
    there = cache.receipt_names()
    cache.know(cache.units())
    for view, block, layer in tqdm(units, "hashing", leave=False, disable=None):
        try:
            if Path(receipt_path(view, block, layer)).name not in there:
                cache.receipt(view, block, layer)  # raises: it is missing
            cache.check_block(view, block, source, layer)
        except InputError as error:
            damaged[view, block, layer] = str(error)
    intact = len(units) - len(damaged.keys() - OF_NO_BLOCK)
    print(
        f"integrity: {intact} of {len(units)} blocks intact, "
        f"{cache.manifest.samples:,} samples x {cache.manifest.views} views"
        + (f" x {len(cache.manifest.layers)} layers" if cache.manifest.added else "")
    )
    return damaged


def repair(
    cache: Cache, source: ImageSource | None, damaged: dict[Unit, str], flags: argparse.Namespace
) -> dict[Unit, str]:
    """Makes only the damaged blocks again; returns what is still damaged."""
    manifest = cache.manifest
    for text in damaged.values():
        print(f"repairing: {printable(text)}", file=sys.stderr)
    source = source or open_source(
        flags.images or manifest.source.spec, manifest.split, limit=manifest.samples
    )
    require_source(cache, source)
    device = pick_device(flags.device)
    teacher = cached_teacher(manifest, flags.weights, device, flags.teacher)
    cache = create_cache(flags.cache, manifest, source.labels, source.keys, teacher.head)
    broken = sorted(damaged.keys() - OF_NO_BLOCK)
    todo = [
        Work(view, block, tuple(layer for *_, layer in units))
        for (view, block), units in groupby(broken, lambda unit: unit[:2])
    ]
    kept = [unit for unit in cache.units() if (*unit, "") not in damaged]
    require_same_pixels(cache, source, kept)
    intact = [cache.receipt(*unit) for unit in kept]
    # If other blocks have skipped images, the damaged blocks may have skipped some, too.
    skips = Skips(1.0 if any(receipt.skipped for receipt in intact) else None, manifest.samples)
    # Use the batch size of the intact blocks, so that the same bits result.
    sizes = [receipt.arithmetic.batch_size for receipt in intact if receipt.arithmetic]
    batch_size = sizes[0] if sizes else BATCH
    job = Job(source, teacher, cache.manifest, device, default_workers(device), batch_size)
    fill(cache, job, todo, skips)
    if manifest.split == "train" and manifest.encoding.offers("channels"):
        with suppress(InputError):  # a block is still damaged, which is reported below
            keep_tails(cache)
    return find_damage(cache, source)


def check_tails(cache: Cache) -> list[str]:
    """Checks that channels.json, if there is one, follows from the channel means."""
    found = read_tails(cache)
    if found is None:
        return []
    tell_tails(found)
    if measure(cache) != found:
        return [
            f"{cache.where}/{CHANNELS} does not follow from the channel means: delete it and run "
            f"the same precompute/run.py command again, it writes the file again"
        ]
    return []


def check_classes(cache: Cache) -> list[str]:
    try:
        read_classes(cache)
    except InputError as error:
        return [str(error)]
    return []


def check_pixels(cache: Cache, source: ImageSource | None) -> list[str]:
    try:
        compared = require_pixels(cache, source)
    except InputError as error:
        return [str(error)]
    if not compared:
        return [
            "no pixels could be compared, as the first and the last block of the first and the "
            "last view carry no checksums: delete their receipts and run the same "
            "precompute/run.py command again"
        ]
    print(f"pixels: {compared} checksummed views made again, all equal")
    return []
