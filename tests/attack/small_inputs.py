"""What the attacks on processes run on: a small image folder, a teacher, caches made from them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import STUDENT, TEACHER, run_precompute, write_image_folder, write_teacher


@dataclass(frozen=True)
class Inputs:
    folder: Path  # empty, for what the attack makes
    precompute: tuple[object, ...]  # flags, without --cache: 24 blocks
    train: tuple[object, ...]  # flags, without --out: 12 steps in 2 epochs, with val splits


@contextmanager
def small_inputs() -> Iterator[Inputs]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image_folder(folder / "images", classes=6, train=8, val=1)
        write_teacher(folder / "teacher.pt", "cifar_resnet20", 6)
        images = ("--images", folder / "images", "--weights", folder / "teacher.pt")
        small = (*TEACHER, "--size", 32, "--block", 4, "--views", 2)
        flags = ("--split", "train", *images, *small, "--batch-size", 3)
        run_precompute(*flags[2:], "--cache", folder / "cache")
        (folder / "made").mkdir()
        train = (
            *("--cache", folder / "cache", "--epochs", 2, "--batch-size", 8, "--lr", 0.02),
            *STUDENT,
        )
        every = ("--checkpoint-every", 2, "--log-every", 1)
        yield Inputs(folder / "made", flags, (*train, *every))
