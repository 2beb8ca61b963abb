"""How a teacher's channel means are distributed over a split: the spread of every channel, and how
heavy the tails are.

Of a teacher that normalises with running statistics, a few images far from all others may hold
most of the variance of a stage's means: 0.9 of it in the worst case measured, for 1 % of the
images. A squared error then follows those few. `spread` measures every channel without them, and
train/losses.py divides by it.

    <split>/channels.json   what `measure` found, written when the first view is complete

It is a function of view 0 alone, so that more views change nothing in it. Shapes: n samples that
are looked at, C_s channels of stage s.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.codecs import CODECS
from shared.errors import InputError
from shared.store import schema
from shared.store.cache import Cache
from shared.store.sealed import MOST_BYTES, seal, unseal
from shared.targets import Head

CHANNELS = "channels.json"
VERSION = 1
SAMPLES = 32_768  # that are looked at, of all those of a split
FAR = 0.01  # the share of samples, or of a channel's values, that counts as its tail
HEAVY = 0.25  # of a stage's variance in the tail; of a Gaussian channel's 0.04 are
LEAST_SPREAD = 1e-2  # of the mean of a stage's: channels that hardly move are not blown up
DIGITS = 6  # of every number: the last bits depend on the number of threads


@dataclass(frozen=True)
class Tails:
    """Of the channel means of view 0, a value or a tuple of C_s values a stage."""

    samples: int  # that were looked at
    share: tuple[float, ...]  # of a stage's variance that its farthest 1 % of samples hold
    farthest: tuple[float, ...]  # largest distance of a sample from the mean / the median distance
    spread: tuple[tuple[float, ...], ...]  # deviation of a channel's values below their 99th
    # percentile

    @property
    def are_heavy(self) -> bool:
        return max(self.share) > HEAVY

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The spread of every channel, float32 (C_s,) a stage."""
        return tuple(torch.tensor(stage, device=device) for stage in self.spread)

    def line(self) -> str:
        shares, farthest = (" ".join(f"{x:.2g}" for x in v) for v in (self.share, self.farthest))
        return (
            f"tails    the farthest 1 % of images hold {shares} of the variance of the channel "
            f"means, stage by stage; the farthest lies {farthest} times as far out as the median"
        )


def tails_of(stages: tuple[Tensor, ...]) -> Tails:
    """(n, C_s) means a stage, the same n samples each."""
    found = [_stage(means.double()) for means in stages]
    share, farthest, spread = zip(*found, strict=True)
    return Tails(len(stages[0]), share, farthest, spread)


def _stage(means: Tensor) -> tuple[float, float, tuple[float, ...]]:
    squares = (means - means.mean(0)).square().sum(1)
    top = squares.topk(math.ceil(FAR * len(squares))).values.sum()
    total, median = float(squares.sum()), float(squares.sqrt().median())
    share = float(top) / total if total > 0 else 0.0
    farthest = float(squares.sqrt().max()) / median if median > 0 else 1.0
    below = means.sort(0).values[: max(1, math.ceil((1 - FAR) * len(means)))]
    spread = below.std(0, correction=0)
    spread = spread.clamp(min=LEAST_SPREAD * float(spread.mean()))
    # Of one sample, or of a teacher that says the same of all of them.
    spread = torch.where(spread > 0, spread, 1.0)
    return _rounded(share), _rounded(farthest), tuple(map(_rounded, spread.tolist()))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def tails_of_fields(
    codec: str, stages: tuple[int, ...], head: Head | None, parts: Iterable[Mapping[str, Tensor]]
) -> Tails:
    """Of rows as a codec stores them, in parts; `stages` are the C_s."""
    decoded = (CODECS[codec].decode(fields, stages, head).channels for fields in parts)
    return tails_of(tuple(torch.cat(stage) for stage in zip(*decoded, strict=True)))


def measure(cache: Cache) -> Tails:
    """Reads up to SAMPLES samples of view 0, spread over the split. InputError where it is not
    complete, damaged, or has no usable sample."""
    manifest = cache.manifest
    names = CODECS[manifest.codec].needed(frozenset({"channels"}))
    parts = []
    for block, rows in _rows(cache):
        arrays = cache.read_block(0, block, names)
        parts.append({name: torch.from_numpy(arrays[name][rows]) for name in names})
    if not parts:
        raise InputError(
            f"a cache holds images: all of {cache.where} were left out as they do not decode; "
            f"repair them and make the cache again"
        )
    return tails_of_fields(manifest.codec, manifest.teacher.channels, cache.head(), parts)


def _rows(cache: Cache) -> Iterator[tuple[int, np.ndarray]]:
    """(block, rows in it) of the samples to look at: without those that were left out."""
    manifest = cache.manifest
    left_out = np.array([index for index, _, _ in cache.skipped()], dtype=np.int64)
    # The source may be sorted by class, so what is looked at is spread over it.
    step, blocks = -(-manifest.samples // SAMPLES), range(manifest.blocks)
    if manifest.format == "webdataset":  # where a shard is read as a whole, with its JPEGs
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
    """Measures them and writes the file, unless it is there and can be read."""
    try:
        found = read_tails(cache)
    except InputError:  # it is written again
        found = None
    if found is None:
        found = measure(cache)
        cache.files.write(CHANNELS, encode(cache, found))
    return found


def require_tails(cache: Cache) -> Tails:
    """Those of the file, or, of a cache of an earlier version, measured now.

    InputError where the file is damaged.
    """
    return read_tails(cache) or measure(cache)


def read_tails(cache: Cache) -> Tails | None:
    """None where there is no such file. InputError where it is damaged or of another cache."""
    if not cache.files.exists(CHANNELS):
        return None
    try:
        facts = unseal(cache.files.read(CHANNELS, MOST_BYTES))
        _SCHEMA(facts, "")
        widths = [len(stage["spread"]) for stage in facts["stages"]]
        if widths != list(cache.manifest.teacher.channels):
            raise ValueError("its stages are not those of the teacher")
        if facts["cache"] != cache.manifest.cache_id():
            raise ValueError(f"it is of the cache {facts['cache']}")
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{CHANNELS} says how the channel means are distributed: {cache.where}/{CHANNELS} "
            f"cannot be used ({error}); run the same precompute/run.py command again, it writes "
            f"the file again"
        ) from error
    stages = facts["stages"]
    return Tails(
        samples=facts["samples"],
        share=tuple(stage["share"] for stage in stages),
        farthest=tuple(stage["farthest"] for stage in stages),
        spread=tuple(tuple(stage["spread"]) for stage in stages),
    )


def encode(cache: Cache, tails: Tails) -> bytes:
    stages = [
        {"share": share, "farthest": farthest, "spread": spread}
        for share, farthest, spread in zip(tails.share, tails.farthest, tails.spread, strict=True)
    ]
    return seal(
        {
            "version": VERSION,
            "cache": cache.manifest.cache_id(),
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
