"""Small real inputs for tests, and the commands run to their end: what most tests need."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shared.models.build import build_model
from shared.store.receipt_index import INDEX
from tests.processes import Finished, start

# The networks of most tests: ResNet-18 takes 5 times as long a step and 40 times as many bytes a
# checkpoint.
TEACHER = ("--teacher", "cifar_resnet20")
STUDENT = ("--student", "cifar_resnet20")


def write_image_folder(
    root: Path, classes: int, train: int, val: int, side: int | None = None
) -> None:
    """`root`/{train,val}/<class>/<n>.jpg: noise on a gradient, `train` and `val` images a class.

    Without `side` the images have sizes from 36 to 60 pixels.
    """
    generator = np.random.Generator(np.random.Philox(key=[classes, train]))
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = (side, side) if side else generator.integers(36, 61, 2)
                slope = np.linspace(0, 40 * label, width)[None, :, None]
                noise = generator.normal(100, 40, (height, width, 3))
                pixels = np.clip(noise + slope, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03d}.jpg", quality=90)


def turn_upside_down(path: Path) -> None:
    """Other pixels in as many bytes, so that a listing does not show it."""
    size = path.stat().st_size
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path, quality=50)
    data = path.read_bytes()
    assert len(data) <= size
    path.write_bytes(data.ljust(size, b"\0"))


def write_teacher(
    path: Path, architecture: str, classes: int, stem: str | None = None, seed: int = 0
) -> None:
    """A state dict whose BatchNorm statistics come from data, so that eval and train mode differ
    while the outputs stay of order one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(architecture, classes, stem).train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(8, 3, 32, 32))
    torch.save(model.state_dict(), path)


def run(script: str, *flags: object, check: bool = True, **environment: str) -> Finished:
    done = start(script, *flags, **environment).wait()
    if check:
        assert done.returncode == 0, f"{script} {flags}\n{done.stdout}\n{done.stderr}"
    return done


def run_precompute(*flags: object, check: bool = True) -> Finished:
    return run("precompute/run.py", "--split", "train", *flags, check=check)


def run_train(*flags: object, check: bool = True) -> Finished:
    return run("train/run.py", *flags, check=check)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below `folder`: a file's bytes, None for a folder. Equal means nothing moved.

    Without the index of receipts, which has the times of files in it."""
    paths = sorted(path for path in folder.rglob("*") if path.name != INDEX)
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in paths}


def require_refused(done: Finished, *parts: object) -> None:
    """Exit code 2 and exactly one line on stderr, which holds all `parts`. The NOTE about digits
    may stand before it."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("NOTE: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in map(str, parts):
        assert part in lines[0], f"{part!r} is not in: {lines[0]}"
