"""channels.json: how the channel means in a cache are distributed (shared/targets/tails.py).

It is written when all blocks are finished. It is computed from view 0 alone, so adding views does
not change it.
"""

from collections.abc import Iterator

import numpy as np
import torch

from shared.errors import InputError
from shared.files import schema
from shared.files.sealed import MOST_BYTES, seal, unseal
from shared.records.identity import cache_id
from shared.records.manifest import Manifest
from shared.store.opening import Cache
from shared.targets.tails import Tails, tails_of_fields

CHANNELS = "channels.json"
VERSION = 1
SAMPLES = 32_768  # measured at most


def measure(cache: Cache) -> Tails:
    """Measures up to SAMPLES samples of view 0, spread over the split.

    Raises InputError if the view is incomplete, damaged, or has no usable samples.
    """
    manifest = cache.manifest
    names = manifest.encoding.needed({"channels"})
    parts = []
    for block, rows in _rows(cache):
        arrays = cache.read_block(0, block, names)
        parts.append({name: torch.from_numpy(arrays[name][rows]) for name in names})
    if not parts:
        raise InputError(
            f"all images of {cache.where} were left out, as none of them decodes: repair them and "
            f"make the cache again"
        )
    return tails_of_fields(manifest.encoding, manifest.teacher.channels, parts)


def _rows(cache: Cache) -> Iterator[tuple[int, np.ndarray]]:
    """(block, rows in it) of the samples to measure, without images that do not decode."""
    manifest = cache.manifest
    left_out = np.array([index for index, _, _ in cache.skipped()], dtype=np.int64)
    # The source may be sorted by class, so the samples are spread over it.
    step, blocks = -(-manifest.samples // SAMPLES), range(manifest.blocks)
    if manifest.holds_pixels:  # reading a row would read the whole shard, with its JPEGs
        step, blocks = 1, blocks[:: max(1, manifest.blocks * manifest.block // SAMPLES)]
    seen = 0
    for block in blocks:
        samples = manifest.samples_of(block)
        wanted = (samples % step == 0) & ~np.isin(samples, left_out)
        rows = np.flatnonzero(wanted)[: SAMPLES - seen]
        seen += len(rows)
        if len(rows):
            yield block, rows


def keep_tails(cache: Cache) -> Tails:
    """The Tails in channels.json; measures and writes them if it is missing or unusable."""
    try:
        found = read_tails(cache)
    except InputError:  # damaged: write it again
        found = None
    if found is None:
        found = measure(cache)
        cache.files.write(CHANNELS, encode(cache.manifest, found))
    return found


def require_tails(cache: Cache) -> Tails:
    """The Tails in channels.json, or measured now, as earlier versions did not write the file.

    Raises InputError if the file is damaged.
    """
    return read_tails(cache) or measure(cache)


def read_tails(cache: Cache) -> Tails | None:
    """None if there is no file. Raises InputError if it is damaged or from another cache."""
    if not cache.files.exists(CHANNELS):
        return None
    try:
        facts = unseal(cache.files.read(CHANNELS, MOST_BYTES))
        _SCHEMA(facts, "")
        widths = [len(stage["spread"]) for stage in facts["stages"]]
        if widths != list(cache.manifest.teacher.channels):
            raise ValueError("its stages are not those of the teacher")
        if facts["cache"] != cache_id(cache.manifest):
            raise ValueError(f"it is of the cache {facts['cache']}")
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{cache.where}/{CHANNELS}, which says how the channel means are distributed, cannot "
            f"be used ({error}): run the same precompute/run.py command again, it writes the file "
            f"again"
        ) from error
    stages = facts["stages"]
    return Tails(
        samples=facts["samples"],
        share=tuple(stage["share"] for stage in stages),
        farthest=tuple(stage["farthest"] for stage in stages),
        spread=tuple(tuple(stage["spread"]) for stage in stages),
    )


def encode(manifest: Manifest, tails: Tails) -> bytes:
    stages = [
        {"share": share, "farthest": farthest, "spread": spread}
        for share, farthest, spread in zip(tails.share, tails.farthest, tails.spread, strict=True)
    ]
    return seal(
        {
            "version": VERSION,
            "cache": cache_id(manifest),
            "samples": tails.samples,
            "stages": stages,
        }
    )


_SCHEMA = schema.record(
    {
        "version": schema.integer(VERSION, VERSION),
        "cache": schema.text,
        "samples": schema.integer(1, 10**9),
        "stages": schema.many(
            schema.record(
                {
                    "share": schema.number(-1e-9, 1.0001),
                    "farthest": schema.number(-1e-9, 1e12),
                    "spread": schema.many(schema.number(1e-30, 1e30), 1, 10**6),
                }
            ),
            1,
            1000,
        ),
    }
)
