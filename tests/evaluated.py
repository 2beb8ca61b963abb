"""A val split with caches, a run with a checkpoint, and train/eval.py in this process."""

import functools
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import train.answers
import train.eval
from shared.errors import InputError
from shared.images.source import ImageSource, open_source
from tests.helpers import run, write_image_folder, write_teacher
from train.folder import RunFolder
from train.student import Student, StudentChoice, build_student

EVAL = "train/eval.py"
CLASSES, SIZE = 6, 32
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)  # of the student; the teacher has ImageNet's
BAD = 9  # the image that does not decode
CACHES = {"zarr": "exact", "webdataset": "compact"}  # format: codec
FACTS = {"architecture": "resnet18", "stem": "imagenet", "classes": CLASSES, "size": SIZE,
         "mean": MEAN, "std": STD}  # fmt: skip


@dataclass(frozen=True)
class World:
    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def best(self) -> Path:
        return self.folder / "run" / "best.pt"

    @property
    def source(self) -> ImageSource:
        return open_source(str(self.images), "val")  # 24 images

    def cache(self, store: str) -> Path:
        return self.folder / store


def write_run(folder: Path, student: Student, model: dict[str, Any] = FACTS, **flags: str) -> Path:
    """As train/run.py does; returns best.pt."""
    run_folder = RunFolder(folder)
    run_folder.open({}, {"model": model, "flags": {"images": "None", "cache": "None", **flags}})
    run_folder.save("best.pt", student.backbone.state_dict())
    return folder / "best.pt"


def make_student(world: World, seed: int) -> Student:
    """With connectors, and a backbone that agrees with the teacher now and then."""
    student = build_student(
        StudentChoice("resnet18", "imagenet", CLASSES), (64, 128, 256, 512), seed
    )
    student.backbone.load_state_dict(torch.load(world.folder / "teacher.pt"))
    noise = torch.randn(CLASSES, 512, generator=torch.Generator().manual_seed(seed))
    student.backbone.fc.weight.data += 0.3 * noise
    return student


@functools.cache
def make_world(base: Path) -> World:
    """One a process, which all files share: it is only read."""
    folder = Path(tempfile.mkdtemp(prefix="world", dir=base))
    world = World(folder)
    write_image_folder(world.images, classes=CLASSES, train=1, val=4)
    path = world.images / "val" / world.source.keys[BAD]
    shutil.copy(path, folder / "sound.jpg")
    path.write_bytes(b"?" * path.stat().st_size)
    write_teacher(folder / "teacher.pt", "resnet18", CLASSES)
    for store, codec in CACHES.items():
        run(
            *("precompute/run.py", "--split", "val", "--images", world.images, "--skip-bad", 0.2),
            *("--teacher", "resnet18", "--weights", folder / "teacher.pt", "--size", SIZE),
            *("--format", store, "--codec", codec, "--cache", world.cache(store)),
            *("--block", 8, "--workers", 0),
        )
    write_run(folder / "run", make_student(world, seed=1), images=str(world.images))
    return world


Evaluate = Callable[..., str]


def evaluate_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command in this process, batches of 8; returns its line."""

    def evaluate(checkpoint: Path, *flags: object) -> str:
        arguments = ["eval.py", "--checkpoint", checkpoint, "--workers", 0, "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*map(str, arguments), *map(str, flags)])
        monkeypatch.setattr(train.answers, "BATCH", 8)
        assert train.eval.main() == 0
        return capsys.readouterr().out

    return evaluate


def refused(evaluate: Evaluate, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        evaluate(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
