"""Bytes and error of every codec, and what blosc makes of the default one.

    python tests/bench/codecs.py [--images SOURCE --weights FILE --teacher resnet34 --size 224]

Real images through a trained teacher. Without --weights that is the teacher of `digits` (made by
precompute/run.py). A teacher of fewer than 1000 classes gets a head for 1000, fitted so that its
logits look like those of ImageNet networks; the first lines say what it got. Speeds are CPU's.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numcodecs
import numpy as np
import torch

from precompute.digits_teacher import DIGITS_TEACHER
from shared.choices import ARCHITECTURES, STEMS
from shared.formats import webdataset_format, zarr_format
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.targets.codecs import CODECS
from shared.targets.targets import Head, Targets
from tests.bench.codec_targets import CLASSES, describe, make_targets
from tests.said import stages_of
from tests.small_cache import ARITHMETIC, make_manifest

ROUNDS = 3
TARGETS = {"half": (3200, 1e-6), "compact": (1900, 1e-6), "tiny": (1000, 1e-4)}  # bytes, KL
BLOSC_ROWS = 2048  # zstd 9 takes a second for 500
BLOSC = [("lz4", 5), ("zstd", 1), ("zstd", 3), ("zstd", 5), ("zstd", 9)]


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--images", default="digits")
    add("--weights", default=str(DIGITS_TEACHER / "best.pt"))
    add("--teacher", choices=ARCHITECTURES, default="resnet34")
    add("--stem", choices=STEMS, default="imagenet")
    add("--size", type=int, default=None)
    add("--views", type=int, default=zarr_format.DEFAULT_BLOCK)
    flags = parser.parse_args()
    targets, stages, head = make_targets(flags)
    print(describe(flags, targets, stages, head))
    print()
    print_codecs(targets, stages, head)
    print()
    print_blosc(targets, stages)


def print_codecs(targets: Targets, stages: tuple[int, ...], head: Head) -> None:
    print(
        "| codec | fields | raw B/view | zarr B/view | webdataset member B | KL | argmax flips "
        "| channels: share of variance | channels: of row max | encode views/s | decode views/s "
        "| target |"
    )
    print("|---|---|" + "---:|" * 9 + "---|")
    rows = len(targets["logits"])
    truth = targets["logits"].double().log_softmax(1)
    for name in CODECS:
        manifest = _manifest(rows, name, stages)
        encoding = manifest.encoding
        block = _block(manifest, targets)
        shards = zarr_format.encode(manifest, block)
        on_disk = sum(map(len, shards.values())) / rows
        (record,) = map(json.loads, webdataset_format.array_metadata(manifest).values())
        member = np.dtype([(field, kind, tuple(shape)) for field, kind, shape in record]).itemsize
        fields = {field: torch.from_numpy(values) for field, values in block.fields.items()}
        decoded = encoding.decode(fields, head)
        guess = decoded["logits"].double().log_softmax(1)
        kl = (truth.exp() * (truth - guess)).sum(1).mean().item()
        flips = int((truth.argmax(1) != guess.argmax(1)).sum())
        pairs = list(zip(*(stages_of(side, stages) for side in (decoded, targets)), strict=True))
        share = max(((d - t).var() / t.var(dim=0).mean()).item() for d, t in pairs)
        worst = max(((d - t).abs().amax(1) / t.amax(1)).max().item() for d, t in pairs)
        encode = rows / _seconds(lambda e=encoding: e.encode(targets))
        decode = rows / _seconds(lambda e=encoding, f=fields: e.decode(f, head))
        verdict = ""
        if name in TARGETS:
            most, largest = TARGETS[name]
            verdict = "held" if on_disk <= most and kl <= largest else "MISSED"
            verdict += f" ({most} B, KL {largest:g})"
        print(
            f"| {name} | {', '.join(f'{f} {v.dtype}' for f, v in block.fields.items())} "
            f"| {sum(v.nbytes for v in block.arrays().values()) / rows:,.0f} | {on_disk:,.0f} "
            f"| {member:,} | {kl:.1e} | {flips} of {rows:,} | {share:.1e} | {worst:.1e} "
            f"| {encode:,.0f} | {decode:,.0f} | {verdict} |"
        )


def print_blosc(targets: Targets, stages: tuple[int, ...]) -> None:
    rows = len(targets["logits"])
    fields = _manifest(rows, "half", stages).encoding.encode(targets)
    chunks = [
        values[start : start + zarr_format.CHUNK]
        for values in fields.values()
        for start in range(0, min(rows, BLOSC_ROWS), zarr_format.CHUNK)
    ]
    raw = sum(chunk.nbytes for chunk in chunks)
    print(f"codec half without box, flip and pred, chunks of {zarr_format.CHUNK} rows, one thread:")
    print("| blosc | shuffle | B/view | encode MB/s | decode MB/s |")
    print("|---|---|---:|---:|---:|")
    shuffles = {
        "byte": numcodecs.Blosc.SHUFFLE,
        "bit": numcodecs.Blosc.BITSHUFFLE,
        "none": numcodecs.Blosc.NOSHUFFLE,
    }
    for compressor, level in BLOSC:
        for name, shuffle in shuffles.items():
            blosc = numcodecs.Blosc(compressor, level, shuffle)
            packed = [blosc.encode(chunk) for chunk in chunks]
            encode = _seconds(lambda b=blosc: [b.encode(chunk) for chunk in chunks])
            decode = _seconds(lambda b=blosc, p=packed: [b.decode(chunk) for chunk in p])
            num_bytes = sum(map(len, packed)) / min(rows, BLOSC_ROWS)
            print(
                f"| {compressor} {level} | {name} | {num_bytes:,.0f} "
                f"| {raw / encode / 1e6:,.0f} | {raw / decode / 1e6:,.0f} |"
            )


def _manifest(rows: int, codec: str, stages: tuple[int, ...]) -> Manifest:
    block = rows if rows <= zarr_format.CHUNK else -(-rows // zarr_format.CHUNK) * zarr_format.CHUNK
    manifest = make_manifest(samples=rows, block=block, views=1, codec=codec, channels=stages)
    return replace(manifest, teacher=replace(manifest.teacher, classes=CLASSES))


def _block(manifest: Manifest, targets: Targets) -> Block:
    rows = manifest.samples
    generator = np.random.Generator(np.random.Philox(0))
    return Block(
        view=0,
        index=0,
        fields=manifest.encoding.encode(targets),
        box=generator.integers(0, 500, (rows, 4), dtype=np.int32),
        flip=generator.random(rows) < 0.5,
        pred=targets["logits"].argmax(1).numpy().astype(np.int32),
        label=np.zeros(rows, np.int64),
        images=(),
        keys=(),
        pixels={},
        skipped=(),
        arithmetic=ARITHMETIC,
    )


def _seconds(act: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return median(times)


if __name__ == "__main__":
    main()
