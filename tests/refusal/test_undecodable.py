"""Images that do not decode: the commands name them, or leave them out and say so."""

import shutil
from pathlib import Path

import numpy as np

from shared.store.opening import open_cache
from tests.helpers import require_refused, run, snapshot, write_image_folder
from tests.refusals import KD, World
from train.run_files import read_metrics


def spoil(images: Path) -> dict[str, str]:
    """Key -> the reason that is given, of three images of the train split."""
    train = images / "train"
    (train / "class0" / "001.jpg").write_bytes(b"")
    whole = (train / "class2" / "000.jpg").read_bytes()
    (train / "class2" / "000.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "class4" / "003.jpg").write_text("I am a text file.\n")
    return {
        "class0/001.jpg": "zero bytes",
        "class2/000.jpg": "truncated",
        "class4/003.jpg": "not an image in a known format",
    }


def test_an_image_that_does_not_decode_is_named(world: World, tmp_path: Path) -> None:
    images, cache = tmp_path / "images", tmp_path / "cache"
    write_image_folder(images, classes=5, train=4, val=1)
    for key, reason in spoil(images).items():
        done = world.precompute("--images", images, "--cache", cache)
        require_refused(
            done, f"{key} in {images} does not decode (", reason, "restore", "--skip-bad"
        )
        shutil.copy(world.images / "train" / key, images / "train" / key)
        shutil.rmtree(cache)  # it was made for a source with the bad image in it


def test_blocks_before_a_bad_image_are_kept(spare: World) -> None:
    shutil.rmtree(spare.cache)
    spare.precompute(check=True)
    whole = snapshot(spare.cache)
    shutil.rmtree(spare.cache)
    bad = spare.images / "train" / "class4" / "003.jpg"
    sound = bad.read_bytes()
    bad.write_bytes(b"?" * len(sound))  # as many bytes, so that the listing stays the same
    require_refused(spare.precompute(), "class4/003.jpg in ", " does not decode (")
    cache = open_cache(spare.cache, "train")
    assert [unit for unit in cache.units() if cache.is_done(*unit)] == [
        (view, block) for view in range(2) for block in range(2)
    ]
    bad.write_bytes(sound)
    assert "4 of 6 blocks are there" in spare.precompute(check=True).stdout
    assert snapshot(spare.cache) == whole


def test_skip_bad_records_what_it_leaves_out_and_training_does_too(
    world: World, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "images", classes=5, train=4, val=1)
    bad = spoil(tmp_path / "images")
    flags = ("--images", tmp_path / "images", "--cache", tmp_path / "cache")
    done = world.precompute(*flags, "--skip-bad", 0.2)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "3 images skipped" in done.stdout
    for key, reason in bad.items():
        assert any(key in line and reason in line for line in done.stdout.splitlines())

    cache = open_cache(tmp_path / "cache", "train")
    assert [(index, key) for index, key, _ in cache.skipped()] == [
        (1, "class0/001.jpg"),
        (8, "class2/000.jpg"),
        (19, "class4/003.jpg"),
    ]
    for view in range(2):
        receipts = [cache.receipt(view, block).skipped for block in range(3)]
        assert [[index for index, _, _ in skipped] for skipped in receipts] == [[1], [8], [19]]
        pred = cache.read_view(view, ["pred"])["pred"]
        assert np.flatnonzero(pred == -1).tolist() == [1, 8, 19]

    run("precompute/verify.py", "--cache", tmp_path / "cache")
    other = World(tmp_path / "images", tmp_path / "cache", world.teacher, world.folder)
    other.train(tmp_path / "out", "--recipe", KD, check=True)
    trained = read_metrics(tmp_path / "out")[0]
    assert round(trained["images_per_second"] * trained["seconds"]) == 20 - len(bad)


def test_val_images_that_do_not_decode_are_told_once(spare: World, tmp_path: Path) -> None:
    bad = spare.images / "val" / "class1" / "000.jpg"
    bad.write_bytes(b"?" * bad.stat().st_size)
    done = spare.train(tmp_path / "out", "--epochs", 2, check=True)
    assert done.stderr == (
        "NOTE: 1 of 5 val images do not decode and count as wrong; repair or remove them\n"
    )
    records = read_metrics(tmp_path / "out")
    assert [record["undecodable"] for record in records[1::2]] == [1, 1]
