"""What verify.py must not call verified: where nothing was compared, or nothing could have failed.

And --repair, which makes blocks as precompute does, over the images that the others were made of.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from precompute import compared_views
from shared.errors import InputError
from shared.files.sealed import seal, unseal
from shared.images.source import open_source
from shared.store.opening import open_cache
from tests.helpers import (
    require_refused,
    run,
    run_precompute,
    snapshot,
    turn_upside_down,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished


@dataclass(frozen=True)
class World:
    folder: Path  # images, teacher.pt

    def precompute(self, cache: Path, *flags: object) -> Finished:
        return run_precompute(
            *("--images", self.folder / "images", "--weights", self.folder / "teacher.pt"),
            *(
                "--teacher",
                "cifar_resnet20",
                "--size",
                32,
                "--block",
                4,
                "--views",
                2,
                "--workers",
                0,
            ),
            *("--cache", cache, *flags),
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    write_image_folder(tmp_path / "images", classes=2, train=4, val=1)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 2)
    yield World(tmp_path)


def verify(cache: Path, *flags: object) -> Finished:
    return run("precompute/verify.py", "--cache", cache, *flags, check=False)


def test_checksums_are_of_images_that_decode(world: World) -> None:
    """Samples 0 and 2 of a block of 4 are those that are taken otherwise."""
    for number in (0, 2):
        path = world.folder / f"images/train/class0/00{number}.jpg"
        path.write_bytes(b"?" * path.stat().st_size)
    world.precompute(world.folder / "cache", "--skip-bad", 0.5)
    cache = open_cache(world.folder / "cache", "train")
    assert sorted(cache.receipt(0, 0).pixels) == [1, 3]
    assert sorted(cache.receipt(0, 1).pixels) == [4, 6]


def test_receipts_without_checksums_prove_nothing(world: World) -> None:
    world.precompute(world.folder / "cache")
    for path in (world.folder / "cache/train/receipts").iterdir():
        path.write_bytes(seal({**unseal(path.read_bytes()), "pixels": {}, "targets": {}}))
    done = verify(world.folder / "cache")
    assert done.returncode == 1 and done.stdout.splitlines()[-1].endswith(": FAILED")
    assert "FAILED: no pixels could be compared, as the first and the last block" in done.stderr


def test_blank_images_prove_nothing(world: World) -> None:
    """Every wrong view of them is the right one."""
    for path in (world.folder / "images").rglob("*.jpg"):
        Image.new("RGB", (40, 40), (90, 90, 90)).save(path)
    world.precompute(world.folder / "cache")
    done = verify(world.folder / "cache")
    assert done.returncode == 1 and done.stdout.splitlines()[-1].endswith(": FAILED")
    assert "FAILED: negative control: none of the 16 views has a wrong view that " in done.stderr


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_no_repair_over_other_pixels(world: World, store: str) -> None:
    """Names and sizes are the same, so that no listing shows it."""
    cache, images = world.folder / "cache", world.folder / "images"
    world.precompute(cache, "--format", store)
    whole = snapshot(cache)
    (cache / "train/receipts/v0001-b000000.json").unlink()
    lost = snapshot(cache)
    shutil.copytree(images, world.folder / "aside")
    for path in (images / "train").rglob("*.jpg"):
        turn_upside_down(path)
    done = verify(cache, "--repair", "--images", images)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("repairing: ")]
    require_refused(replace(done, stderr="\n".join(lines)), "has other pixels than when receipts/")
    assert snapshot(cache) == lost, "nothing is lost or written"
    shutil.rmtree(images)
    shutil.copytree(world.folder / "aside", images)
    assert verify(cache, "--repair", "--images", images).returncode == 0
    assert snapshot(cache) == whole


class Garbled:
    """Images of which the lower part was damaged since."""

    def read(self, index: int) -> bytes:
        return b"?"


def test_an_image_that_was_damaged_below_its_stored_view_is_one_line(world: World) -> None:
    """The wrong view is the first that reaches so far down: it was a traceback."""
    world.precompute(world.folder / "cache")
    cache = open_cache(world.folder / "cache", "train")
    source = replace(open_source(str(world.folder / "images"), "train"), reader=Garbled())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"class0/001.jpg .* does not now \(.*\): restore"):
        compared_views.wrong_views(cache, 0, source, [1], torch.zeros(1, 3, 32, 32))
