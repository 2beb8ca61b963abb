"""Is this cache whole, and does it say what the live teacher says? Exit code 0, or 1 with reasons.

    python precompute/verify.py --cache data/teacher_cache --split train --samples 256

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
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from precompute.compare import check_targets
from shared.checks import require_pixels, require_source
from shared.device import pick_device
from shared.errors import InputError, run_command
from shared.images import ImageSource, open_source
from shared.store.cache import Cache, open_cache
from shared.teacher import cached_teacher


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks a cache, and against the live teacher.")
    add = parser.add_argument
    add("--cache", type=Path, default=Path("data/teacher_cache"), help="folder of the cache")
    add("--split", default="train")
    add("--samples", type=int, default=64, metavar="N", help="views to compare; 0: none")
    add("--images", metavar="SOURCE", help="default: the cache's")
    add("--weights", metavar="NAME|FILE", help="default: the cache's")
    add("--device", help="cpu, cuda, ... (default: the best there is)")
    flags = parser.parse_args()
    if flags.samples < 0:
        raise InputError(f"--samples must be 0 or more: got {flags.samples}")
    cache = open_cache(flags.cache, flags.split)
    failures = check_integrity(cache)
    if not failures and flags.samples:
        manifest = cache.manifest
        spec = flags.images or manifest.source.spec
        source = open_source(spec, manifest.split, limit=manifest.samples)
        require_source(cache, source)
        device = pick_device(flags.device)
        teacher = cached_teacher(manifest, flags.weights, device)
        failures += check_pixels(cache, source)
        failures += check_targets(cache, source, teacher, flags.samples, device)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    print(f"{cache.where}: {'FAILED' if failures else 'verified'}")
    return 1 if failures else 0


def check_integrity(cache: Cache) -> list[str]:
    """What is wrong with the files: nothing, or one line for each damaged block."""
    failures = []
    units = list(cache.units())
    for view, block in tqdm(units, "hashing", leave=False, disable=None):
        try:
            cache.check_block(view, block)
        except InputError as error:
            failures.append(str(error))
    print(
        f"integrity: {len(units) - len(failures)} of {len(units)} blocks intact, "
        f"{cache.manifest.samples:,} samples x {cache.manifest.views} views"
    )
    return failures


def check_pixels(cache: Cache, source: ImageSource) -> list[str]:
    try:
        compared = require_pixels(cache, source)
    except InputError as error:
        return [str(error)]
    print(f"pixels: {compared} checksummed views made again, all equal")
    return []


if __name__ == "__main__":
    run_command(main)
