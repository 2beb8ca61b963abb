"""What --teacher-statistics batch cannot be combined with, or be mixed with: one line."""

from pathlib import Path

import numpy as np
import pytest

import precompute.run
from shared.store.opening import open_cache
from tests.batch_caches import World, in_process, make_world, require_done, spoilt
from tests.helpers import require_refused


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


def test_too_few_good_images_in_a_batch_are_refused(world: World, tmp_path: Path) -> None:
    keys = [str(p.relative_to(world.source / "train")) for p in world.source.rglob("train/*/*")]
    images = spoilt(world, tmp_path, sorted(keys)[::5] + sorted(keys)[1::5] + sorted(keys)[2::5])
    cache = tmp_path / "cache"
    keep = world.precompute(cache, "--images", images, "--skip-bad", 1)
    assert keep.returncode == 0, "8 or more of every 32 are left"
    images = spoilt(world, tmp_path / "more", sorted(keys)[:-10])
    done = world.precompute(tmp_path / "other", "--images", images, "--skip-bad", 1)
    require_refused(
        done,
        "needs 8 images or more in a batch",
        "of the 32 images from ",
        "--teacher-statistics eval",
    )


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--format", "zarr"), ("the format zarr keeps the order of the source, which may be "
                                "sorted by class; use --format webdataset",)),
        (("--batch-size", 128), ("--batch-size must be 256 with --teacher-statistics batch",
                                 "got 128; leave it out")),
        (("--block", 300), ("blocks of 300 samples do not hold whole batches of 256; use "
                            "--block 512",)),
        (("--block", 256, "--limit", 310), ("the last block of 310 samples in blocks of 256 would "
                                            "hold 54, and a batch must hold 64 or "
                                            "more; use --block 512",)),
        (("--limit", 63), ("needs 64 images or more", "has 63 in this split",
                           "use --teacher-statistics eval")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    world: World, tmp_path: Path, flags: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    done = in_process(precompute.run, "--split", "train", *world.flags(tmp_path / "c", *flags))
    require_refused(done, *parts)
    assert not (tmp_path / "c").exists()


def test_the_two_are_never_mixed(world: World, tmp_path: Path) -> None:
    done = world.precompute(world.whole, "--teacher-statistics", "eval")
    require_refused(done, 'was made with statistics "batch" and this run asks for "eval"')
    require_done(world.precompute(tmp_path, "--teacher-statistics", "eval", "--block", 50))
    text = (tmp_path / "train/manifest.json").read_text()
    assert "statistics" not in text and "teacher_batch" not in text
    eval_targets, targets = (
        open_cache(folder, "train").read_view(0, ["channels"])["channels"]
        for folder in (tmp_path, world.whole)
    )
    assert np.abs(eval_targets - targets).max() > 0.05
    require_refused(
        world.precompute(tmp_path), 'was made with statistics "eval" and this run asks for "batch"'
    )
