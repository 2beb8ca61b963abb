"""Whole files that say something else, which no hash can tell: verify.py finds them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.records.block import Block
from shared.store.opening import Cache, open_cache
from tests.helpers import require_refused, snapshot, turn_upside_down
from tests.stores import stored_block
from tests.verified import CLASSES, World, require_failed, verify


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
