"""Views per second of one decoding process, by the number of views that are drawn from one decode.

    python tests/bench/views.py --images FOLDER [--count 100] [--rounds 5] [--memory]

FOLDER holds image files, at any depth. Every row of the table draws the views 0 to K - 1 of each
image, random-resized-crop at 224 px, through the pixel loader in this process: once with one view a
request, as before, and once with as many as a group has (precompute/groups.py). The pixels are
compared first. They take turns, on one thread whose own time is measured; a time is the least over
the rounds. With view shards each view is also encoded as a JPEG and decoded again.

--memory instead fills caches of one block of K views of IMAGES images, in batches of 256, with
random numbers of ResNet-34's shapes for targets, each in a process of its own, and prints its peak
resident memory, which is bounded whatever K.

2026-11-27, 60 ImageNet JPEGs, one of 2 busy cores: K = 10 is 2.77 times as fast with zarr, 1.97
with view shards; K = 4: 2.44 and 1.49; K = 2: 1.66 and 1.34. Peak memory over what the process had
before its first batch: 0.05 GB at K = 1, 0.10 at 4, 0.22 at 10.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from precompute.fill import fill
from precompute.flags import add_flags
from precompute.groups import most_views
from precompute.job import make_job
from precompute.skips import Skips
from shared.errors import BadImage
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.models.resnet import StagedResNet
from shared.pixels.decode import decode
from shared.records.block import Work
from shared.store.opening import create_cache

SIZE, BATCH = 224, 60  # BATCH: views in a request
IMAGES = 1000  # with --memory
POLICY = "random-resized-crop"
VIEWS = (1, 2, 4, 5, 10)


class Encoded:
    """The part of an image source that the loader uses."""

    def __init__(self, folder: Path, count: int) -> None:
        self.data: list[bytes] = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = path.read_bytes()
            try:
                decode(data)
            except BadImage:
                continue
            self.data.append(data)
        if not self.data:
            sys.exit(f"--images is a folder with images, at any depth: {folder} has none")
        self.data = self.data[:count]

    def read(self, index: int) -> bytes:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)


def requests(images: int, views: int, group: int) -> list[Request]:
    found = []
    for first in range(0, views, group):
        draw = Draw(POLICY, 0, first, tuple(range(first + 1, first + group)))
        rows = max(1, BATCH // group)
        for at in range(0, images, rows):
            found.append(Request(0, np.arange(at, min(at + rows, images)), draw))
    return found


def by_view(batches: list[PixelBatch], asked: list[Request]) -> dict[tuple[int, int], bytes]:
    found = {}
    for batch, request in zip(batches, asked, strict=True):
        numbers = request.views.numbers
        for number, part in zip(numbers, batch.by_view(len(numbers)), strict=True):
            for row, index in enumerate(part.index.tolist()):
                found[index, number] = part.pixels[row].numpy().tobytes()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--fill", type=int, help="used by --memory")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.fill:
        fill_cache(flags.images, flags.fill)
    elif flags.memory:
        for views in (1, 4, 10, 50):
            command = [sys.executable, __file__, "--images", str(flags.images)]
            subprocess.run([*command, "--fill", str(views)], check=True)
    else:
        compare_speeds(Encoded(flags.images, flags.count), flags.rounds)


def compare_speeds(source: Encoded, rounds: int) -> None:
    print(
        f"{len(source)} images of {np.mean([len(d) for d in source.data]) / 1e3:.0f} kB, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n"
        "| format | K | views/s, one by one | from one decode | ratio |\n|---|---:|---:|---:|---:|"
    )
    for as_jpeg in (False, True):
        loader = PixelLoader((source,), SIZE, 0, False, as_jpeg)  # type: ignore[arg-type]
        for views in VIEWS:
            ways = [requests(len(source), views, group) for group in (1, views)]
            if views <= 2:
                one, other = (by_view(list(loader.batches(asked)), asked) for asked in ways)
                assert one == other, "the pixels differ"
            best = [np.inf, np.inf]
            for _ in range(rounds):
                for way, asked in enumerate(ways):
                    started = time.thread_time()
                    for _batch in loader.batches(asked):
                        pass
                    best[way] = min(best[way], time.thread_time() - started)
            speeds = [len(source) * views / seconds for seconds in best]
            name = "view shards" if as_jpeg else "zarr"
            print(
                f"| {name} | {views} | {speeds[0]:,.0f} | {speeds[1]:,.0f} "
                f"| {speeds[1] / speeds[0]:.2f} |",
                flush=True,
            )
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def fill_cache(images: Path, views: int) -> None:
    found = [path for path in sorted(images.rglob("*")) if path.is_file()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(IMAGES):
            link = folder / "images" / "train" / f"{number % 1000:03d}" / f"{number}.jpg"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(found[number % len(found)].absolute())
        torch.save(StagedResNet("resnet34", 1000).state_dict(), folder / "teacher.pt")
        parser = argparse.ArgumentParser()
        add_flags(parser)
        given = ["--split", "train", "--images", folder / "images", "--block", IMAGES]
        given += ["--weights", folder / "teacher.pt", "--views", views, "--batch-size", 256]
        given += ["--workers", 0, "--device", "cpu"]
        job = make_job(parser.parse_args([str(each) for each in given]))
        job = replace(job, teacher=Random(), manifest=job.manifest)  # type: ignore[arg-type]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source = job.source
        cache = create_cache(folder, job.manifest, source.labels, source.keys, None)
        fill(cache, job, [Work(view, 0) for view in range(views)], Skips(1.0, len(source)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"K = {views:2}: groups of up to {most_views(job)} views, peak {peak / 1e6:.2f} GB, "
            f"{before / 1e6:.2f} GB before the first batch",
            flush=True,
        )


class Random:
    """In place of a teacher: its targets, at once."""

    def __call__(self, pixels: torch.Tensor, kinds: object) -> dict[str, torch.Tensor]:
        rows = len(pixels)
        return {"logits": torch.rand(rows, 1000), "channels": torch.rand(rows, 960)}


if __name__ == "__main__":
    main()
