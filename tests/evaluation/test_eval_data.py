"""Images and caches that train/eval.py is given: those of the run, or one line."""

import shutil
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.store.opening import open_cache
from tests.evaluated import (
    CACHES,
    EVAL,
    FACTS,
    Evaluate,
    World,
    refused,
    write_run,
)
from tests.helpers import require_refused, run, snapshot, write_image_folder
from tests.small_cache import make_cache, make_manifest, open_empty
from train.student import Student, StudentChoice, build_student


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("train/a",), "has no val split, which this command needs: found train; add a folder val"),
        (("cat", "dog"), "has no train/ and no val/: it holds the folders cat, dog; if they are"),
    ],
)
def test_images_without_a_val_split(
    world: World, evaluate: Evaluate, tmp_path: Path, folders: tuple[str, ...], found: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert f"{tmp_path} {found}" in refused(evaluate, world.best, "--images", tmp_path)


def test_images_are_those_of_the_run(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    manifest = make_manifest()
    facts = open_cache(world.cache("zarr"), "val").manifest.source
    for name in ("cache", "moved"):
        open_empty(tmp_path / name, make_manifest(source=facts, samples=facts.samples))
    assert manifest.source != facts
    best = write_run(tmp_path / "run", student, cache=str(tmp_path / "cache"))
    expected = evaluate(world.best)
    assert evaluate(best) == expected
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(InputError) as caught:
        evaluate(best)
    assert str(caught.value) == (
        f"{tmp_path}/cache, which names the images of the run, holds no train split any more: "
        f"give --images"
    )
    assert evaluate(best, "--images", world.images) == expected


def test_data_of_other_classes_or_size(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "images", classes=3, train=1, val=1)
    rule = ", and the checkpoint was trained for 6 classes at 32 px: give the val split of the"
    text = refused(evaluate, world.best, "--images", tmp_path / "images")
    assert f"{tmp_path}/images has 3 classes at 32 px" + rule in text
    best = write_run(tmp_path / "run", student, FACTS | {"size": 40}, images=str(world.images))
    for store in CACHES:
        text = refused(evaluate, best, "--cache", world.cache(store))
        assert f"{world.cache(store)}/val has 6 classes at 32 px" + rule.replace("32", "40") in text
    make_cache(tmp_path / "cache", make_manifest(split="val"))
    text = refused(evaluate, world.best, "--cache", tmp_path / "cache")
    assert f"{tmp_path}/cache/val has 3 classes at 8 px" + rule in text


def test_caches_that_cannot_be_used(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    make_cache(tmp_path / "random", make_manifest(split="val"))
    three = build_student(StudentChoice("resnet18", "imagenet", 3), (), seed=0)
    best = write_run(tmp_path / "run", three, FACTS | {"classes": 3, "size": 8})
    text = refused(evaluate, best, "--cache", tmp_path / "random")
    assert (
        f"{tmp_path}/random/val holds views of policy pad-crop, and the val split is seen in"
        in text
    )

    text = refused(evaluate, world.best, "--cache", tmp_path)
    assert f"--cache must hold val/manifest.json: {tmp_path} does not; check the path" in text
    text = refused(evaluate, world.best, "--cache", tmp_path / "typo")
    assert f"{tmp_path}/typo does not exist; check the path, or make the cache with" in text
    assert f"--split val --images SOURCE --cache {tmp_path}/typo" in text
    text = refused(evaluate, world.best, "--cache", world.cache("zarr") / "val")
    assert (
        f"{world.cache('zarr')}/val is the folder of one split: give the folder that holds the"
        in text
    )

    shards = world.cache("webdataset")
    text = refused(evaluate, world.best, "--cache", shards, "--images", world.images)
    assert "whose view shards are evaluated on the pixels that they hold" in text

    shutil.copytree(world.cache("zarr"), tmp_path / "cache")
    flags = ("--cache", tmp_path / "cache", "--images", tmp_path / "images")
    shutil.copytree(world.images, tmp_path / "images")
    (tmp_path / "images/val/class0/000.jpg").unlink()
    text = refused(evaluate, world.best, *flags)
    assert " does not hold the images that " in text
    (tmp_path / "cache/val/receipts/v0000-b000001.json").unlink()
    text = refused(evaluate, world.best, *flags)
    assert f"the cache {tmp_path}/cache/val is incomplete: block 1 of view 0 is missing" in text


def test_flags_that_cannot_be_used(world: World, evaluate: Evaluate) -> None:
    for flag, value, text in (
        ("--workers", -1, "--workers must be 0 or more: got -1"),
        ("--images", "nowhere", "got nowhere: no such folder"),
        ("--device", "nonsense", "--device nonsense cannot be used here ("),
    ):
        assert text in refused(evaluate, world.best, flag, value)
    before = snapshot(world.folder)
    done = run(EVAL, "--checkpoint", world.best, "--workers", -1, check=False)
    require_refused(done, "--workers must be 0 or more: got -1")
    assert snapshot(world.folder) == before
