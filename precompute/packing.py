"""The main function of precompute/pack.py: writes a source as WebDataset tars of small JPEGs.

The resulting folder can be used as a source, with the same order, labels and classes. Its pixels
differ, so a cache must be made from one or the other.

1. Settings are written to DIR/.pack/train.json; a DIR with different settings is refused.
2. Worker processes make whole shards (pack_shard.py). Shards that match their receipts are kept, so
   the same command resumes. The result does not depend on the number of workers.
"""

import argparse
import itertools
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import PIL
from tqdm import tqdm

from precompute.pack_shard import (
    FOLDER,
    PackedShard,
    Packing,
    make_shard,
    make_shard_here,
    packed_key,
    start_worker,
)
from precompute.skips import Skips, share_of_flag
from shared.device import usable_cores
from shared.errors import InputError, printable
from shared.files.local import LocalFiles
from shared.images.source import default_source, open_source
from shared.loaders.worker import held_signals
from shared.pixels.decode import DECODER
from shared.stop import StopRequest

KEPT = "finished tars are kept"
STOP_SECONDS = 0.1  # between checks for a request to stop


def pack(flags: argparse.Namespace) -> int:
    for name, least, most in (("shorter_side", 1, 2**16 - 1), ("quality", 1, 100),
                              ("shard_size", 1, 10**6), ("workers", 0, 10**3)):  # fmt: skip
        value = getattr(flags, name)
        if value is not None and not least <= value <= most:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be {least} to {most:,}: got {value}")
    source = open_source(flags.images or default_source(), flags.split)
    skips = Skips(share_of_flag(flags.skip_bad), len(source))
    to = flags.to.expanduser().absolute()
    packing = Packing(
        source, to, flags.shorter_side, flags.quality, flags.shard_size, skips.share is not None
    )
    _require_distinct(packing)
    _write_settings(packing)
    workers = usable_cores() if flags.workers is None else flags.workers
    started = time.perf_counter()
    receipts, bad = [], itertools.count()  # each image is in one tar
    with tqdm(total=len(source), unit="img", desc="packing", leave=False, disable=None) as bar:
        for receipt in _make_all(packing, min(workers, packing.shards)):
            receipts.append(receipt)
            for key, reason in receipt.skipped:
                skips.add(next(bad), key, source.spec, reason)
            bar.update(receipt.samples + len(receipt.skipped))
    LocalFiles(to).remove_stale()
    num_bytes = sum(receipt.num_bytes for receipt in receipts)
    skipped = sorted(pair for receipt in receipts for pair in receipt.skipped)
    print(
        f"done: {sum(r.samples for r in receipts):,} images in {len(receipts):,} tars, "
        f"{num_bytes / 1e6:,.1f} MB in {time.perf_counter() - started:.1f} s, "
        f"{len(skipped)} images skipped; use them with --images {flags.to}"
    )
    for key, reason in skipped:
        print(printable(f"  skipped {key}: {reason}"))
    return 0


def _make_all(packing: Packing, workers: int) -> Iterator[PackedShard]:
    """Yields all shards, in any order. Raises Stopped between two shards."""
    with StopRequest() as stop:
        if workers == 0:
            for shard in range(packing.shards):
                yield make_shard(packing, shard)
                stop.check(KEPT)
            return
        # Spawn: the parent may have threads and connections of a remote source.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, start_worker, (packing,))
        try:
            with held_signals(context):
                waiting = {pool.submit(make_shard_here, s) for s in range(packing.shards)}
            while waiting:
                done, waiting = wait(waiting, STOP_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                stop.check(KEPT)
        except BrokenProcessPool as error:
            raise InputError(
                "a packing process was killed, most likely for lack of memory: nothing that was "
                "finished is lost; start the same command again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _require_distinct(packing: Packing) -> None:
    seen: dict[str, str] = {}
    for key in packing.source.keys:
        other = seen.setdefault(packed_key(key), key)
        if other is not key:
            raise InputError(
                f"{other} and {key} in {packing.source.spec} would both be packed as "
                f"{packed_key(key)}, as extensions go and dots become _: rename one"
            )


def _write_settings(packing: Packing) -> None:
    """Raises InputError if the folder has shards with other settings or classes."""
    split = packing.source.split
    settings = {
        "version": 1,
        "source": packing.source.digest,
        "shorter-side": packing.shorter_side,
        "quality": packing.quality,
        "shard-size": packing.shard_size,
        "decoder": DECODER,
        "pillow": PIL.__version__,
    }
    files = LocalFiles(packing.to)
    names = "".join(f"{name}\n" for name in packing.source.classes)
    if names.count("\n") != len(packing.source.classes):
        raise InputError(
            "the name of a class contains a line break, and classes.txt has one name a line: "
            "rename the folder"
        )
    for path, text, what in (
        (f"{FOLDER}/{split}.json", json.dumps(settings, indent=1) + "\n", "settings"),
        ("classes.txt", names, "class names"),
    ):
        data = text.encode(errors="surrogateescape")
        if not files.write_new(path, data) and (found := files.read(path)) != data:
            raise InputError(
                f"other {what} are in {packing.to / path}: {_difference(found, data)}; a folder "
                f"holds one packing of each split, all with the same classes: give the former "
                f"flags, or another --to"
            )


def _difference(found: bytes, data: bytes) -> str:
    """Describes the first line that differs."""
    old, new = (content.decode(errors="replace").splitlines() for content in (found, data))
    pairs = ((a, b) for a, b in zip(old, new, strict=False) if a != b)
    a, b = next(pairs, (f"{len(old)} lines", f"{len(new)} lines"))
    return f"{a.strip(' ,')}, now {b.strip(' ,')}"
