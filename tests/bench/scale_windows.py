"""How well batches of a class-sorted source are mixed if its targets do not fit into memory.

    python tests/bench/scale_windows.py [--large]

Only orders are computed, without a cache. MOST_BYTES is 16 GiB, batches have 256 samples. Columns:
distinct classes in a batch; total variation between the classes of 40 consecutive steps and equal
shares; the share of the classes that is in memory; processor time that the plan of an epoch takes.
"Windows of blocks" are those of before: random blocks of 8,192 rows, as many as fit, shuffled among
themselves. One core of an EPYC, 2026-11-27:

| targets | samples | classes | order | distinct | TV | in memory | CPU s |
|---|---:|---:|---|---:|---:|---:|---:|
| map4, 50 kB | 1,281,167 | 1,000 | full shuffle | 226.2 | 0.124 | 100.0% |  |
| map4, 50 kB | 1,281,167 | 1,000 | windows of blocks | 163.8 | 0.725 | 27.9% |  |
| map4, 50 kB | 1,281,167 | 1,000 | sliding | 225.2 | 0.148 | 96.1% | 0.2 |
| map3, 100 kB | 1,281,167 | 1,000 | full shuffle | 226.2 | 0.124 | 100.0% |  |
| map3, 100 kB | 1,281,167 | 1,000 | windows of blocks | 113.9 | 0.855 | 14.2% |  |
| map3, 100 kB | 1,281,167 | 1,000 | sliding | 224.4 | 0.149 | 96.2% | 0.2 |
| map1, 401 kB | 1,281,167 | 1,000 | full shuffle | 226.2 | 0.124 | 100.0% |  |
| map1, 401 kB | 1,281,167 | 1,000 | windows of blocks | 34.9 | 0.956 | 3.6% |  |
| map1, 401 kB | 1,281,167 | 1,000 | sliding | 224.8 | 0.144 | 96.1% | 0.8 |
| channels, 4 kB | 14,197,122 | 1,000 | full shuffle | 225.8 | 0.125 | 100.0% |  |
| channels, 4 kB | 14,197,122 | 1,000 | windows of blocks | 192.2 | 0.531 | 53.5% |  |
| channels, 4 kB | 14,197,122 | 1,000 | sliding | 225.4 | 0.139 | 96.1% | 2.8 |
| channels, 4 kB | 14,197,122 | 21,841 | full shuffle | 254.5 | 0.626 | 100.0% |  |
| channels, 4 kB | 14,197,122 | 21,841 | windows of blocks | 250.1 | 0.785 | 26.5% |  |
| channels, 4 kB | 14,197,122 | 21,841 | sliding | 253.4 | 0.683 | 65.6% | 2.8 |

The plan of 14 million samples takes 0.5 GB while it is made and 0.1 GB afterwards; that of 100
million (--large) 19 s, 2.7 GB and 0.8 GB.

Without rounds of pieces from everywhere (reading_order.spread_order), in just any order of the
pieces, a batch of map1 has 221.8 classes.
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from numpy.typing import NDArray

from shared.epochs.class_mix import class_mix
from shared.epochs.order import epoch_order, random_words, split_batches
from shared.epochs.windows import MOST_BYTES, EpochPlan, Epochs
from shared.records.manifest import Manifest
from shared.targets.codecs import num_bytes
from tests.bench.store import STAGES
from tests.small_cache import make_manifest

BATCH, BLOCK, SEED, STEPS, RUN = 256, 8192, 1, 200, 40
IMAGENET, IMAGENET_21K = 1_281_167, 14_197_122


@dataclass(frozen=True)
class Case:
    name: str
    samples: int
    classes: int
    kind: str
    shape: tuple[int, ...]
    channels: tuple[int, ...] = STAGES


CASES = (
    Case("map4, 50 kB", IMAGENET, 1000, "map4", (512, 7, 7)),
    Case("map3, 100 kB", IMAGENET, 1000, "map3", (256, 14, 14)),
    Case("map1, 401 kB", IMAGENET, 1000, "map1", (64, 56, 56)),
    Case("channels, 4 kB", IMAGENET_21K, 1000, "channels", (), (256, 512, 1024, 208)),
    Case("channels, 4 kB", IMAGENET_21K, 21_841, "channels", (), (256, 512, 1024, 208)),
)
LARGE = (Case("channels, 4 kB", 100_000_000, 21_841, "channels", (), (256, 512, 1024, 208)),)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true", help="100 million samples")
    flags = parser.parse_args()
    print("| targets | samples | classes | order | distinct | TV | in memory | CPU s |")
    print("|---|---:|---:|---|---:|---:|---:|---:|", flush=True)
    for case in LARGE if flags.large else CASES:
        labels = (np.arange(case.samples) * case.classes // case.samples).astype(np.int32)
        manifest = manifest_of(case)
        if not flags.large:
            report(case, "full shuffle", labels, full_shuffle(case), 1.0)
            steps, share = old_windows(manifest, case, labels)
            report(case, "windows of blocks", labels, steps, share)
        started = time.process_time()
        plan = Epochs(manifest, np.arange(case.samples), [case.kind], BATCH, SEED).plan(0)
        seconds = time.process_time() - started
        share = window_share(plan, labels, manifest)
        report(case, "sliding", labels, list(plan.steps), share, seconds)
        print(f"  class_mix {class_mix(plan, labels):.3f}", file=sys.stderr)


def report(
    case: Case,
    order: str,
    labels: NDArray[np.int32],
    steps: list[NDArray[np.int64]],
    share: float,
    seconds: float = 0,
) -> None:
    chosen = np.linspace(0, len(steps) - 1, STEPS).astype(int)
    distinct = np.mean([len(np.unique(labels[steps[step]])) for step in chosen])
    runs = np.linspace(0, len(steps) - RUN, STEPS // 4).astype(int)
    apart = np.mean([apart_from_even(labels, steps[i : i + RUN], case.classes) for i in runs])
    print(
        f"| {case.name} | {case.samples:,} | {case.classes:,} | {order} | {distinct:.1f} | "
        f"{apart:.3f} | {share:.1%} | {f'{seconds:.1f}' if seconds else ''} |",
        flush=True,
    )


def apart_from_even(
    labels: NDArray[np.int32], steps: list[NDArray[np.int64]], classes: int
) -> float:
    """Total variation between the classes of some steps and equal shares."""
    seen = np.bincount(labels[np.concatenate(steps)], minlength=classes)
    return float(abs(seen / seen.sum() - 1 / classes).sum() / 2)


def manifest_of(case: Case) -> Manifest:
    added = {case.kind: case.shape} if case.shape else {}
    manifest = make_manifest(case.samples, BLOCK, added=added)
    return replace(manifest, teacher=replace(manifest.teacher, channels=case.channels))


def full_shuffle(case: Case) -> list[NDArray[np.int64]]:
    return split_batches(epoch_order(np.arange(case.samples), SEED, 0), BATCH)


def old_windows(
    manifest: Manifest, case: Case, labels: NDArray[np.int32]
) -> tuple[list[NDArray[np.int64]], float]:
    """As it was before: random blocks, as many as fit, are shuffled among themselves."""
    row_bytes = num_bytes({case.kind: manifest.encoding.fields()[case.kind]})
    windows = -(-manifest.blocks // (MOST_BYTES // (BLOCK * row_bytes)))
    words = random_words(manifest.blocks, SEED, 0, "windows")
    dealt = np.array_split(np.argsort(words, kind="stable"), windows)
    order = epoch_order(np.arange(case.samples), SEED, 0)
    steps, shares = [], []
    for blocks in dealt:
        mine = order[np.isin(order // BLOCK, blocks)]
        steps += split_batches(mine, BATCH)
        shares.append(len(np.unique(labels[mine])) / case.classes)
    return steps, float(np.mean(shares))


def window_share(plan: EpochPlan, labels: NDArray[np.int32], manifest: Manifest) -> float:
    """The share of the classes that is in memory, in the mean over some steps."""
    when = np.empty(manifest.samples, np.int32)  # the step of each sample
    for number, step in enumerate(plan.steps):
        when[step] = number
    shares = []
    for step in np.linspace(0, len(plan.steps) - 1, 20).astype(int).tolist():
        read = plan.pieces[int(plan.begin[step]) : int(plan.ready[step])]
        samples = np.concatenate(
            [np.arange(p.rows.start, p.rows.stop) + p.block * manifest.block for p in read]
        )
        resident = samples[when[samples] >= step]
        shares.append(len(np.unique(labels[resident])) / (labels[-1] + 1))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
