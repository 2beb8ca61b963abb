"""How long the commands take to start on a cache of ImageNet's size.

    python tests/bench/scale.py --folder DIR           (once; see there)
    python tests/bench/scale_start.py --folder DIR [train zarr webdataset]

train       train/run.py from the command to its first step, on DIR/cache, without the import of
            torch; and how much of that is reading the view
zarr        precompute/run.py on a finished cache of 50 views, first without receipts.index, then
webdataset  with it. Its receipts are simulated, in DIR/start-FORMAT-VIEWS: the files of its blocks
            are sparse, of the right sizes. Writing them takes minutes (70 thousand files).

2 idle cores, codec half, 2026-11-27, train: first step after 14.8 and 16.7 s, of which 11.0 s read
the view of 5 GB; CPU 28 to 30 s (before: 42 to 51).
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    sys.path[0] = str(ROOT)

SIZES = {"zarr": 5_000_000, "webdataset": 26_000_000}  # bytes of a file of a block
BEGIN = """
import time
started = time.perf_counter()
import torch
torch_there = time.perf_counter()
"""
TO_FIRST_STEP = """
import os, runpy, sys
import train.loop
from shared.epochs.cached_views import CachedViews
begin, begun = CachedViews.begin, []
def timed(*arguments):
    begun.append(time.perf_counter())
    begin(*arguments)
CachedViews.begin = timed
def first(*_, **__):
    now = time.perf_counter()
    seconds, reading = now - torch_there, now - begun[0]
    print(f"first step after {seconds:.1f} s, of which {reading:.1f} s read the view; "
          f"CPU {time.process_time():.1f} s; import of torch {torch_there - started:.1f} s",
          flush=True)
    os._exit(0)
train.loop.train_step = first
sys.argv[0] = "train/run.py"
runpy.run_path("train/run.py", run_name="__main__")
"""
TO_THE_END = """
import atexit, runpy, sys
atexit.register(lambda: print(f"ended after {time.perf_counter() - torch_there:.1f} s, CPU "
                              f"{time.process_time():.1f} s", flush=True))
sys.argv[0] = "precompute/run.py"
runpy.run_path("precompute/run.py", run_name="__main__")
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["train", *SIZES])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose code is measured")
    flags = parser.parse_args()
    for what in flags.what:
        if what == "train":
            train(flags.folder, flags.checkout)
        else:
            resume(flags.folder, what, flags.views, flags.checkout)


def train(folder: Path, checkout: Path) -> None:
    command = (
        *("--cache", folder / "cache", "--images", folder / "images", "--workers", 0),
        *("--student", "cifar_resnet20", "--batch-size", 64, "--out", folder / "run"),
    )
    print("train/run.py:", _run(checkout, BEGIN + TO_FIRST_STEP, *command))


def resume(folder: Path, store: str, views: int, checkout: Path) -> None:
    command = (
        *("--split", "train", "--images", folder / "images", "--format", store, "--size", 32),
        *("--teacher", "cifar_resnet20", "--weights", folder / "teacher.pt", "--views", views),
        *("--cache", folder / f"start-{store}-{views}"),
    )
    cache = _simulate([str(part) for part in command])
    index = cache / "receipts.index"
    index.unlink(missing_ok=True)
    for name in ("without receipts.index", "with it"):
        print(f"precompute/run.py, {store}, {name}:", _run(checkout, BEGIN + TO_THE_END, *command))
    print(f"receipts.index: {index.stat().st_size / 1e6:.1f} MB")


def _run(checkout: Path, code: str, *flags: object) -> str:
    """The last line that the command prints."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, flags)],
        cwd=checkout, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{done.stdout.splitlines()[-1]}; {time.perf_counter() - began:.1f} s in all"


def _simulate(command: list[str]) -> Path:
    """The split that `command` would make: its receipts, and sparse files for its blocks."""
    from precompute.flags import make_parser
    from precompute.job import make_job
    from shared.records.keys import key_digest
    from shared.records.receipt import Receipt, receipt_path
    from shared.store.opening import create_cache
    from shared.store.tails_file import CHANNELS, encode
    from shared.targets.tails import Tails
    from tests.helpers import write_teacher
    from tests.small_cache import ARITHMETIC

    flags = make_parser("", ()).parse_args(command)
    if not Path(flags.weights).exists():
        write_teacher(Path(flags.weights), "cifar_resnet20", 1000)
    job = make_job(flags)
    source = job.source
    cache = create_cache(flags.cache, job.manifest, source.labels, source.keys, job.teacher.head)
    manifest, root = cache.manifest, Path(str(cache.files.root))
    if cache.is_complete():
        return root
    widths = manifest.teacher.channels
    tails = Tails(1, (0.1,) * len(widths), (1.0,) * len(widths), tuple((1.0,) * w for w in widths))
    (root / CHANNELS).write_bytes(encode(manifest, tails))
    (root / "receipts").mkdir(exist_ok=True)

    def make(block: int) -> None:
        samples, rows = manifest.samples_of(block), manifest.rows(block)
        keys = key_digest(source.keys, samples)
        checked = {int(samples[0]): "5e" * 32, int(samples[len(samples) // 2]): "5f" * 32}
        for view in range(manifest.views):
            paths = sorted(set(cache.format.array_paths(manifest, view, block).values()))
            for path in paths:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                with (root / path).open("wb") as file:
                    file.truncate(SIZES[manifest.format])
            receipt = Receipt(
                view, block, rows.start, rows.stop, keys,
                {path: (SIZES[manifest.format], "5e" * 32) for path in paths}, checked, checked, (),
                replace(ARITHMETIC, torch="2.11.0"),
            )  # fmt: skip
            (root / receipt_path(view, block)).write_bytes(receipt.to_json())

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make, range(manifest.blocks)))
    return root


if __name__ == "__main__":
    main()
