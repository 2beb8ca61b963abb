"""verify.py: exit code 0 on what is good, 1 and the reason on what is not, 2 on wrong input."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.cache.opening import Cache, open_cache
from shared.images.source import ImageSource, open_source
from shared.records.block import Block
from shared.targets.codecs import CODECS
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
from tests.stores import stored_block

CLASSES = 5
MADE = [*(("zarr", codec) for codec in CODECS), ("webdataset", "half")]


@dataclass(frozen=True)
class World:
    folder: Path
    source: ImageSource  # 20 images
    teacher: Path
    cache: Path  # zarr, half: 3 blocks of 8, 2 views

    def precompute(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        return run_precompute(
            *(
                "--images",
                self.source.spec,
                "--weights",
                self.teacher,
                "--teacher",
                "cifar_resnet20",
            ),
            *("--size", 32, "--block", 8, "--batch-size", 7, "--views", 2, "--cache", cache),
            *flags,
            check=check,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    source = open_source(str(folder / "images"), "train")
    world = World(folder, source, folder / "teacher.pt", folder / "cache")
    world.precompute(world.cache)
    return world


@pytest.fixture
def spare(world: World, tmp_path: Path) -> Cache:
    shutil.copytree(world.cache, tmp_path / "cache")
    return open_cache(tmp_path / "cache", "train")


def verify(cache: Path, *flags: object) -> Finished:
    return run("precompute/verify.py", "--cache", cache, *flags, check=False)


def require_failed(done: Finished, *parts: str) -> None:
    """Exit code 1, FAILED lines only, and each part in one of them."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("FAILED: ") for line in lines), done.stderr
    for part in parts:
        assert any(part in line for line in lines), f"{part!r} is not in: {done.stderr}"
    assert done.stdout.splitlines()[-1].endswith(": FAILED")


@pytest.mark.parametrize(("store", "codec"), MADE)
def test_a_good_cache_passes(world: World, tmp_path: Path, store: str, codec: str) -> None:
    cache = tmp_path / "cache"
    world.precompute(cache, "--format", store, "--codec", codec)
    before = snapshot(cache)
    done = verify(cache, "--samples", 20)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert "integrity: 6 of 6 blocks intact, 20 samples x 2 views" in lines
    assert any(line.startswith("pixels: ") and "all equal" in line for line in lines)
    assert "cached against live: 20 views, 0 of which the live argmax differs" in lines
    assert lines[-1] == f"{cache}/train: verified"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[0] == "|"]
    assert rows[0] == [
        *("field", "max error", "relative", "beyond bound", "wrong view: relative, beyond")
    ]
    assert [row[0] for row in rows[2:]] == [
        *("logits", "channels, stage 1", "channels, stage 2", "channels, stage 3"),
    ]
    for _, largest, relative, beyond, wrong in rows[2:]:
        assert (float(largest) == 0) == (float(relative) == 0) == (codec == "exact")
        assert beyond == "0 of 20"
        worse, caught = wrong.split(", ")
        assert float(worse) > 10 * float(relative) and int(caught.split()[0]) > 0
    assert snapshot(cache) == before


def test_a_cache_of_centre_views_passes(world: World, tmp_path: Path) -> None:
    """No flips, one view: a block's flip array is all zeros, which zarr would leave out."""
    world.precompute(tmp_path, "--policy", "center", "--views", 1)
    done = verify(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    assert "cached against live: 20 views, 0 of which" in done.stdout


@pytest.mark.parametrize(("asked", "compared"), [(3, 3), (1000, 40)])
def test_so_many_views_are_compared(world: World, asked: int, compared: int) -> None:
    done = verify(world.cache, "--samples", asked)
    assert done.returncode == 0
    assert f"cached against live: {compared} views, 0 of which" in done.stdout


def test_without_samples_only_the_files_are_checked(world: World, spare: Cache) -> None:
    done = verify(spare.files.root.parent, "--samples", 0)
    assert done.returncode == 0 and "live" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.endswith(": intact; not compared with the teacher (--samples 0)")
    assert "verified" not in done.stdout


# Damaged files


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "bit of targets": (
        "targets.zarr/channels/c/1/2/0",
        flip_bit,
        "channels/c/1/2/0 is damaged: it has ",
    ),
    "bit of boxes": ("targets.zarr/box/c/0/1/0", flip_bit, "box/c/0/1/0 is damaged: it has "),
    "short file": ("targets.zarr/logits/c/0/0/0", truncate, "logits/c/0/0/0 is damaged: it has "),
    "lost file": ("targets.zarr/pred/c/1/0", Path.unlink, "pred/c/1/0 is missing"),
    "lost receipt": ("receipts/v0001-b000001.json", Path.unlink, "block 1 of view 1 is missing"),
    "bit of receipt": ("receipts/v0001-b000001.json", flip_bit, "v0001-b000001.json is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(spare: Cache, damage: str) -> None:
    root = spare.files.root
    path, spoil, named = DAMAGES[damage]
    spoil(root / path)
    damaged = snapshot(root)
    done = verify(root.parent)
    require_failed(done, named)
    assert "integrity: 5 of 6 blocks intact" in done.stdout
    assert len(done.stderr.splitlines()) == 1 and "live" not in done.stdout
    assert snapshot(root) == damaged


def test_every_damaged_block_is_named_and_repaired(spare: Cache) -> None:
    root = spare.files.root
    whole = snapshot(root)
    for path, spoil, _ in DAMAGES.values():
        if (root / path).exists():
            spoil(root / path)
    names = [
        "channels/c/1/2/0 is damaged: it has ",
        "box/c/0/1/0 is damaged: it has ",
        "logits/c/0/0/0 is damaged: it has ",
    ]
    names += ["pred/c/1/0 is missing", "block 1 of view 1 is missing"]
    done = verify(root.parent)
    require_failed(done, *names)
    assert "integrity: 1 of 6 blocks intact" in done.stdout

    done = verify(root.parent, "--repair")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"{root}: verified" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 5 and all(line.startswith("repairing: ") for line in lines)
    assert all(any(name in line for line in lines) for name in names)
    assert snapshot(root) == whole


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_added_kinds_are_verified_and_repaired(world: World, tmp_path: Path, store: str) -> None:
    """Added to a cache that is there; a layer that is damaged is made again, and nothing else."""
    world.precompute(tmp_path, "--format", store)
    before = snapshot(tmp_path)
    world.precompute(tmp_path, "--format", store, "--targets", "attention3,grid4")
    whole = snapshot(tmp_path)
    assert {path for path in before if whole[path] != before[path]} == {"train/manifest.json"}
    done = verify(tmp_path, "--samples", 20)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert "integrity: 18 of 18 blocks intact, 20 samples x 2 views x 3 layers" in lines
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[0] == "|"]
    assert {"attention3", "grid4", "logits", "channels, stage 3"} <= {row[0] for row in rows}
    for _, _, relative, beyond, wrong in rows[2:]:
        assert beyond == "0 of 20"
        assert float(wrong.split(", ")[0]) > 10 * float(relative)

    receipt = open_cache(tmp_path, "train").receipt(1, 2, "grid4")
    (path,) = receipt.files
    flip_bit(tmp_path / "train" / path)
    lost = "train/receipts/v0000-b000001.attention3.json"
    (tmp_path / lost).unlink()
    done = verify(tmp_path)
    require_failed(
        done, f"{path} is damaged: it has ", "block 1 of view 0 of attention3 is missing"
    )
    assert "integrity: 16 of 18 blocks intact" in done.stdout
    done = verify(tmp_path, "--repair")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 2
    assert snapshot(tmp_path) == whole


def test_another_teachers_layer_is_found(world: World, tmp_path: Path) -> None:
    """With right hashes: numbers of the other view, which only the comparison can tell."""
    world.precompute(tmp_path, "--targets", "attention3")
    cache = open_cache(tmp_path, "train")
    manifest = cache.manifest
    for index in range(manifest.blocks):
        block = stored_block(cache, world.source, 0, index)
        other = cache.read_block(1, index, ["attention3"])
        receipt = cache.receipt(0, index, "attention3")
        cache.write(replace(block, fields=other, layer="attention3"), receipt.keys)
    require_failed(
        verify(tmp_path, "--samples", 20),
        "cached and live attention3 differ in ",
    )


# Whole files that say something else: hashes cannot tell


def rewrite(world: World, cache: Cache, view: int, change: Callable[[Block, Block], Block]) -> None:
    """Every block of a view, changed with the other view's block at hand, receipts and all."""
    for index in range(cache.manifest.blocks):
        mine, other = (stored_block(cache, world.source, v, index) for v in (view, 1 - view))
        cache.write(change(mine, other), cache.receipt(view, index).keys)


def test_targets_of_another_view_are_found(world: World, spare: Cache) -> None:
    rewrite(world, spare, 0, lambda mine, other: replace(mine, fields=other.fields))
    done = verify(spare.files.root.parent)
    assert "integrity: 6 of 6 blocks intact" in done.stdout
    assert "all equal" in done.stdout
    require_failed(
        done,
        "cached and live logits differ in 20 of 40 views",
        "cached and live channels, stage 3 differ in ",
    )


def test_targets_of_one_wrong_sample_are_found(world: World, spare: Cache) -> None:
    def swap(mine: Block, other: Block) -> Block:
        fields = {name: rows.copy() for name, rows in mine.fields.items()}
        for name, rows in fields.items():
            rows[3] = other.fields[name][3]
        return replace(mine, fields=fields)

    rewrite(world, spare, 1, swap)
    require_failed(
        verify(spare.files.root.parent), "cached and live logits differ in 3 of 40 views"
    )


def test_boxes_of_another_view_are_found(world: World, spare: Cache) -> None:
    rewrite(world, spare, 0, lambda mine, other: replace(mine, box=other.box, flip=other.flip))
    require_failed(
        verify(spare.files.root.parent),
        "view 0 of class0/000.jpg does not have the pixels that the teacher saw",
        "cached and live channels, stage 1 differ in ",
    )


def test_predictions_of_another_class_are_found(world: World, spare: Cache) -> None:
    rewrite(
        world, spare, 1, lambda mine, _: replace(mine, pred=(mine.pred + 1) % np.int32(CLASSES))
    )
    done = verify(spare.files.root.parent)
    assert "cached against live: 40 views, 20 of which the live argmax differs" in done.stdout
    require_failed(
        done, "the cached pred is another class than the live teacher's best in 20 of 40 views"
    )


def test_changed_pixels_are_found(world: World, spare: Cache, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(world.source.spec, images)
    turn_upside_down(images / "train" / "class0" / "000.jpg")
    require_failed(
        verify(spare.files.root.parent, "--images", images),
        "view 0 of class0/000.jpg does not have the pixels that the teacher saw",
        "cached and live channels, stage 1 differ in ",
    )


def test_a_teacher_that_sees_nothing_proves_nothing(world: World, tmp_path: Path) -> None:
    """The negative control: whatever the view, its outputs are the same."""
    state = torch.load(world.teacher, weights_only=True)
    state["conv1.weight"].zero_()
    torch.save(state, tmp_path / "blind.pt")
    world.precompute(tmp_path / "cache", "--weights", tmp_path / "blind.pt")
    done = verify(tmp_path / "cache")
    require_failed(done, "negative control: 40 of 40 wrong views pass as right")
    assert len(done.stderr.splitlines()) == 1


# Resuming


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_a_cache_is_not_gone_on_with_over_other_pixels(
    world: World, tmp_path: Path, store: str
) -> None:
    """Names and sizes are the same, so that no listing shows it."""
    images, cache = tmp_path / "images", tmp_path / "cache"
    shutil.copytree(world.source.spec, images)
    flags = ("--images", images, "--format", store)
    world.precompute(cache, *flags)
    whole = snapshot(cache)
    (cache / "train/receipts/v0001-b000002.json").unlink()
    lost = snapshot(cache)
    for path in (images / "train").rglob("*.jpg"):
        turn_upside_down(path)
    done = world.precompute(cache, *flags, check=False)
    require_refused(done, "has other pixels than when receipts/v000")
    assert snapshot(cache) == lost, "nothing is lost or written"
    shutil.rmtree(images)
    shutil.copytree(world.source.spec, images)
    world.precompute(cache, *flags)
    assert snapshot(cache) == whole


def test_other_batches_are_said(world: World, tmp_path: Path) -> None:
    """By precompute when it ends, and by verify; the cache is good."""
    world.precompute(tmp_path)
    assert "made in" not in world.precompute(tmp_path).stderr
    (tmp_path / "train/receipts/v0001-b000002.json").unlink()
    for done in (world.precompute(tmp_path, "--batch-size", 3), verify(tmp_path)):
        assert done.returncode == 0
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("NOTE: ")]
        assert "were made in 2 different ways" in line and "5 blocks by cpu, torch " in line
        assert "batches of 7; 1 blocks by cpu" in line and line.endswith("batches of 3")


# Wrong input


def test_other_weights_are_refused(world: World, tmp_path: Path) -> None:
    write_teacher(tmp_path / "other.pt", "cifar_resnet20", CLASSES, seed=1)
    done = verify(world.cache, "--weights", tmp_path / "other.pt")
    require_refused(done, f"{tmp_path}/other.pt is not the cached teacher: ")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--cache", "nowhere"), "--cache must hold train/manifest.json: nowhere does not"),
        (("--split", "val"), "--cache must hold val/manifest.json"),
        (("--samples", -1), "--samples must be 0 or more: got -1"),
        (("--images", "nowhere"), "got nowhere: no such folder"),
        (
            ("--weights", "nowhere.pt"),
            "must be a file for cifar_resnet20: there is no 'nowhere.pt'",
        ),
    ],
)
def test_flags_that_cannot_be_used(world: World, flags: tuple[object, ...], part: str) -> None:
    require_refused(verify(world.cache, *flags), part)
