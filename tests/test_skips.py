"""Images that do not decode: left out of every view or of none, and never too many of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from precompute.skips import Skips
from shared.errors import InputError
from shared.loaders.shard_loader import ShardLoader
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.store.opening import FORMATS, Cache, open_cache
from shared.store.static_files import stored_labels
from tests.helpers import require_refused, run, run_precompute, write_image_folder, write_teacher
from tests.small_cache import make_block, make_cache, make_keys, make_manifest, put

every_format = pytest.mark.parametrize("store", FORMATS)


def without(manifest: Manifest, view: int, index: int, row: int) -> Block:
    """A block as precompute writes it where one image does not decode."""
    block = make_block(manifest, view, index)
    for values in (*block.fields.values(), block.box, block.flip):
        values[row] = 0
    block.pred[row] = -1
    sample = int(manifest.samples_of(index)[row])
    key = make_keys(manifest.samples)[sample]
    pixels = {index: sha for index, sha in block.pixels.items() if index != sample}
    return replace(block, skipped=((sample, key, "zero bytes"),), pixels=pixels)


def refused(cache: Cache, view: int) -> str:
    with pytest.raises(InputError) as caught:
        cache.read_view(view, ["pred"])
    return str(caught.value)


@every_format
@pytest.mark.parametrize("view", [0, 1])
def test_views_that_disagree_are_one_line_and_made_again(
    tmp_path: Path, store: str, view: int
) -> None:
    """A failed read in one view: reading says which block of which view, and what to do."""
    manifest = make_manifest(store=store, views=3)
    put(make_cache(tmp_path, manifest), without(manifest, view, 1, row=2))
    cache = open_cache(tmp_path, "train")
    key = make_keys()[int(manifest.samples_of(1)[2])]
    text = refused(cache, 1)
    assert "\n" not in text and f"lacks {key!r} in view {view} (zero bytes)" in text
    assert "block 1 in" in text and f"has it in view {1 - view}, but an image must be left" in text
    assert "all of them or of none: run the same precompute/run.py command again" in text
    # Which of two is right does not show: both are made again. The third view has the same say.
    todo = [unit for unit in cache.units() if not cache.is_done(*unit)]
    assert todo == ([(0, 1), (1, 1), (2, 1)] if view == 0 else [(0, 1), (1, 1)])
    for unit in todo:
        put(cache, make_block(manifest, *unit))
    assert all(cache.is_done(*unit) for unit in cache.units())
    assert refused_nothing(cache)


def refused_nothing(cache: Cache) -> bool:
    return all(len(cache.read_view(view, ["pred"])["pred"]) == 10 for view in range(3))


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_views_that_disagree_is_one_line(tmp_path: Path, workers: int) -> None:
    """It was StopIteration inside a generator, a RuntimeError with a traceback."""
    manifest = make_manifest(store="webdataset")
    put(make_cache(tmp_path, manifest), without(manifest, 1, 1, row=2))
    loader = ShardLoader(open_cache(tmp_path, "train"), [], 4, 0, workers, False)
    assert sum(len(batch.index) for batch in loader.batches(0)) == 10
    with pytest.raises(InputError, match=r"block 1 in .* lacks .* in view 1 \(zero bytes\)"):
        list(loader.batches(1))


@every_format
def test_skips_that_agree_are_read(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store)
    cache = make_cache(tmp_path, manifest)
    for view in range(2):
        put(cache, without(manifest, view, 1, row=2))
    cache = open_cache(tmp_path, "train")
    sample = int(manifest.samples_of(1)[2])
    assert [index for index, _, _ in cache.skipped()] == [sample]
    assert all(cache.is_done(*unit) for unit in cache.units())
    assert np.flatnonzero(cache.read_view(1, ["pred"])["pred"] == -1).tolist() == [sample]


# ---- how many are too many


def test_a_share_of_the_images_may_be_bad() -> None:
    skips = Skips(0.01, 300)
    for number in (5, 5, 7, 9):  # the same one in another view counts once
        skips.add(number, f"{number}.jpg", "here", "zero bytes")
    with pytest.raises(InputError) as caught:
        skips.add(11, "11.jpg", "here", "zero bytes")
    assert str(caught.value) == (
        "4 of the 300 images in here do not decode, the last one 11.jpg (zero bytes), and at most "
        "1 % may be bad: restore them, or allow more with --skip-bad 0.028"
    )
    with pytest.raises(InputError, match=r"^0.jpg in here does not decode \(empty\): restore"):
        Skips(None, 300).add(0, "0.jpg", "here", "empty")
    Skips(1.0, 1).add(0, "0.jpg", "here", "empty")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images, two of which do not decode."""
    folder = tmp_path_factory.mktemp("skips")
    write_image_folder(folder / "images", classes=4, train=10, val=1)
    for name in ("class0/003.jpg", "class3/009.jpg"):
        path = folder / "images/train" / name
        path.write_bytes(b"?" * path.stat().st_size)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    return folder


def precompute(folder: Path, cache: Path, *flags: object, check: bool = True):  # type: ignore[no-untyped-def]
    return run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--workers", 0),
        *(
            "--teacher",
            "cifar_resnet20",
            "--size",
            32,
            "--views",
            2,
            "--block",
            8,
            "--batch-size",
            8,
        ),
        *("--cache", cache, *flags),
        check=check,
    )


def test_a_run_stops_at_more_than_its_share(folder: Path, tmp_path: Path) -> None:
    done = precompute(folder, tmp_path, "--skip-bad", check=False)
    require_refused(done, "1 of the 40 images in ", "at most 1 % may be bad: ", "allow more with")
    done = precompute(folder, tmp_path, "--skip-bad", 0.025, check=False)
    require_refused(done, "2 of the 40 images in ", "at most 2.5 % may be bad: ", "class3/009.jpg")
    # What was done is there, and counts: an interrupted run stops where one that was not does.
    done = precompute(folder, tmp_path, "--skip-bad", 0.025, check=False)
    require_refused(done, "2 of the 40 images in ", "at most 2.5 % may be bad: ", "class3/009.jpg")
    assert "2 images skipped" in precompute(folder, tmp_path, "--skip-bad", 0.05).stdout


def test_a_block_with_a_failed_read_is_repaired(folder: Path, tmp_path: Path) -> None:
    """By the same command again, and by verify --repair; both say what was wrong."""
    precompute(folder, tmp_path, "--skip-bad", 0.05)
    cache = open_cache(tmp_path, "train")
    whole = cache.files.read("receipts/v0001-b000002.json")
    for repair in (
        lambda: precompute(folder, tmp_path, "--skip-bad", 0.05),
        lambda: run("precompute/verify.py", "--cache", tmp_path, "--repair"),
    ):
        spoil(cache)
        done = run("precompute/verify.py", "--cache", tmp_path, check=False)
        assert done.returncode == 1 and "in view 1 (EIO) and has it in view 0" in done.stderr
        repair()
        assert cache.files.read("receipts/v0001-b000002.json") == whole


def spoil(cache: Cache) -> None:
    """Block 2 of view 1 as a run wrote it that took a failed read for a bad image."""
    manifest = cache.manifest
    arrays = cache.read_block(1, 2, ["logits", "channels", "box", "flip", "pred"])
    receipt = cache.receipt(1, 2)
    for values in arrays.values():
        values[3] = 0
    arrays["pred"][3] = -1
    sample = int(manifest.samples_of(2)[3])
    cache.write(
        Block(
            view=1,
            index=2,
            fields={name: arrays[name] for name in ("logits", "channels")},
            box=arrays["box"],
            flip=arrays["flip"],
            pred=arrays["pred"],
            label=stored_labels(cache)[manifest.samples_of(2)],
            images=(),
            keys=(),
            pixels=receipt.pixels,
            skipped=((sample, "class1/009.jpg", "EIO"),),
            arithmetic=receipt.arithmetic,
        ),
        receipt.keys,
    )


@pytest.mark.parametrize("share", ["0", "-0.1", "1.5", "nan", "inf"])
def test_a_share_is_above_0_and_at_most_1(folder: Path, tmp_path: Path, share: str) -> None:
    done = precompute(folder, tmp_path / "none", f"--skip-bad={share}", check=False)
    require_refused(
        done, f"--skip-bad must be a share of the images above 0 and at most 1: got {share}"
    )
    assert not (tmp_path / "none").exists()


def test_a_cache_of_skipped_images_is_not_verified(tmp_path: Path) -> None:
    """Nothing could be compared with the teacher."""
    write_image_folder(tmp_path / "images", classes=2, train=1, val=1)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 2)
    for path in (tmp_path / "images/train").rglob("*.jpg"):
        path.write_bytes(b"?" * path.stat().st_size)
    precompute(tmp_path, tmp_path / "cache", "--skip-bad", 1)
    done = run("precompute/verify.py", "--cache", tmp_path / "cache", check=False)
    assert done.returncode == 1 and done.stdout.splitlines()[-1].endswith(": FAILED")
    assert "FAILED: nothing was compared with the teacher, " in done.stderr
