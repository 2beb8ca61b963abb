"""A simulated cache of ImageNet's size, for what can be measured without its images and a GPU.

    python tests/bench/scale.py --folder DIR [--samples 1281167] [--views 2] [--codec half]

makes, through the product's own API, in DIR

    images/train-NNNN.tar, val-0000.tar    a source of tiny JPEGs (32 px), sorted by class
    cache/train/                           random targets of a ResNet-34 for it; zarr, 8192 a block

so that real commands run on it: `train/run.py --cache DIR/cache --images DIR/images`. Targets are
random numbers that compress like a trained network's (tests/bench/store.py). What exists already
is kept, so the same command goes on after an interruption. The scripts that measure take the
folder: scale_*.py beside this file, each with its figures in its docstring.

1.28 million samples and 2 views take 1.4 GB of tars, 7.9 GB of cache with codec half, and about 4
minutes on 2 cores.
"""

import argparse
import io
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch
from tqdm import tqdm

from shared.formats.format import FORMATS
from shared.images.source import ImageSource, open_source
from shared.pixels.jpeg import encode_pixels
from shared.pixels.view import new_batch
from shared.records.block import Block
from shared.records.keys import key_digest
from shared.records.manifest import Manifest, SourceFacts, TeacherFacts
from shared.store.opening import Cache, create_cache, head_digest
from shared.targets.targets import Head
from tests.bench.store import STAGES, make_block
from tests.small_cache import make_manifest

SAMPLES, VAL_SAMPLES = 1_281_167, 1000
A_TAR = 10_000  # samples
SIZE = 32  # pixels


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--folder", type=Path, required=True)
    add("--samples", type=int, default=SAMPLES)
    add("--views", type=int, default=2)
    add("--codec", default="half")
    add("--format", default="zarr", choices=FORMATS)
    add("--classes", type=int, default=1000)
    flags = parser.parse_args()
    source = simulated_source(flags.folder, flags.samples, flags.classes)
    cache = simulated_cache(flags.folder, source, flags.views, flags.codec, flags.format)
    print(f"{cache.where}: {cache.num_bytes() / len(source):,.0f} bytes a view")


def simulated_source(folder: Path, samples: int = SAMPLES, classes: int = 1000) -> ImageSource:
    """The train split of `folder`/images, which is written first where it does not exist."""
    images = folder / "images"
    pixels = new_batch(1, SIZE)[0]
    pixels[:] = torch.linspace(0, 200, SIZE).byte()
    jpeg = encode_pixels(pixels)
    _write_tars(images, "val", VAL_SAMPLES, classes, jpeg)
    _write_tars(images, "train", samples, classes, jpeg)
    names = "".join(f"class {label}\n" for label in range(classes))
    if not (path := images / "classes.txt").exists() or path.read_text() != names:
        path.write_text(names)  # a new file would make the kept listing invalid
    return open_source(str(images), "train")


def _write_tars(folder: Path, split: str, samples: int, classes: int, jpeg: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, samples, A_TAR)):
        path = folder / f"{split}-{number:04d}.tar"
        if path.exists():
            continue
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(start, min(start + A_TAR, samples)):
                label = str(index * classes // samples).encode()
                for name, data in ((f"{index:08d}.jpg", jpeg), (f"{index:08d}.cls", label)):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        part = path.with_suffix(".part")
        part.write_bytes(buffer.getvalue())
        part.rename(path)


def simulated_manifest(
    source: ImageSource, views: int = 2, codec: str = "half", store: str = "zarr"
) -> tuple[Manifest, Head]:
    classes = len(source.classes)
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(classes, STAGES[-1], generator=generator) / 20, torch.zeros(classes))
    manifest = make_manifest(
        len(source), FORMATS[store].DEFAULT_BLOCK, views, codec, store, STAGES, size=SIZE
    )
    facts = SourceFacts(source.spec, len(source), source.digest, source.classes)
    teacher = TeacherFacts(
        "resnet34", "imagenet", classes, STAGES, "teacher.pt", "5e" * 32, head_digest(head)
    )
    return replace(manifest, source=facts, teacher=teacher), head


def simulated_cache(
    folder: Path,
    source: ImageSource,
    views: int = 2,
    codec: str = "half",
    store: str = "zarr",
    name: str = "cache",
) -> Cache:
    """A complete train split in `folder`/`name`; blocks that are there are kept."""
    manifest, head = simulated_manifest(source, views, codec, store)
    cache = create_cache(folder / name, manifest, source.labels, source.keys, head)
    made = _block(cache.manifest)
    there = cache.receipt_names()
    todo = [u for u in cache.units() if f"v{u[0]:04d}-b{u[1]:06d}.json" not in there]

    def write(unit: tuple[int, int]) -> None:
        index = manifest.samples_of(unit[1])
        cache.write(_of(made, unit, index, source), key_digest(source.keys, index))

    with ThreadPoolExecutor(2) as threads:
        list(tqdm(threads.map(write, todo), "cache", len(todo), leave=False, disable=None))
    return cache


def _block(manifest: Manifest) -> Block:
    """One block of random targets, with boxes and classes that fit."""
    whole = replace(manifest, source=replace(manifest.source, samples=manifest.block))
    generator = np.random.Generator(np.random.Philox(1))
    corner = generator.integers(0, SIZE // 2, (manifest.block, 2), dtype=np.int32)
    box = np.concatenate([corner, np.full_like(corner, SIZE // 2)], axis=1)
    pred = generator.integers(0, manifest.teacher.classes, manifest.block, dtype=np.int32)
    return replace(make_block(whole, manifest.teacher.classes), box=box, pred=pred)


def _of(made: Block, unit: tuple[int, int], index: np.ndarray, source: ImageSource) -> Block:
    """The block of a unit: the rows of `made`, turned by a number that differs from unit to unit,
    so that no two blocks have the same bytes."""
    rows = (np.arange(len(index)) + 37 * unit[1] + 1009 * unit[0]) % len(made.box)
    images = tuple(made.images[row] for row in rows) if made.images else ()
    return replace(
        made,
        view=unit[0],
        index=unit[1],
        fields={name: values[rows] for name, values in made.fields.items()},
        box=made.box[rows],
        flip=made.flip[rows],
        pred=made.pred[rows],
        label=source.labels[index],
        images=images,
        keys=tuple(source.keys[i] for i in index.tolist()) if images else (),
    )


if __name__ == "__main__":
    main()
