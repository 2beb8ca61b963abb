"""What precompute/run.py cannot use: one line that says what is wrong, and nothing is written."""

import shutil
from pathlib import Path

import pytest

from tests.helpers import require_refused, snapshot
from tests.refusals import World


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--images", "nowhere"), ["--images must be a folder", "got nowhere: no such folder"]),
        (("--split", "test"), ["--split must be a folder in", "got test: found train, val"]),
        (
            ("--weights", "nowhere.pt"),
            ["--weights must be a file for cifar_resnet20: there is no 'nowhere.pt'; check"],
        ),
        (("--stem", "imagenet"), ["--stem must be cifar for cifar_resnet20: got imagenet; leave"]),
        (
            ("--teacher", "resnet18", "--stem", "cifar"),
            ["does not fit resnet18 with stem cifar and 5 classes: it differs in ", "conv1"],
        ),
        (
            ("--teacher", "cifar_resnet32"),
            ["does not fit cifar_resnet32 with ", "layer1.3.conv1.weight is absent"],
        ),
        (("--views", 0), ["--views must be 1 or more: got 0"]),
        (("--batch-size", 0), ["--batch-size must be 1 or more: got 0"]),
        (("--block", 0), ["--block must be 1 or more: got 0"]),
        (("--block", 1500), ["--block must be 1 to 1024, or a multiple of 1024: got 1500"]),
        (("--limit", -3), ["--limit must be 1 or more: got -3"]),
        (("--size", 0), ["--size must be 1 or more: got 0"]),
        (("--seed", -1), ["--seed must be 0 or more and below 2^63: got -1"]),
        (("--seed", 2**63), ["--seed must be 0 or more and below 2^63: got 9223372036854775808"]),
        (("--workers", -1), ["--workers must be 0 or more: got -1"]),
        *(
            (("--policy", policy), [f"--views 2 does not fit the policy {policy}, which has "])
            for policy in ("center", "resize-center")
        ),
        (("--device", "nonsense"), ["--device nonsense cannot be used here ("]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_flags_that_cannot_be_used(
    world: World, tmp_path: Path, flags: tuple[object, ...], parts: list[str]
) -> None:
    done = world.precompute("--cache", tmp_path / "cache", *flags)
    require_refused(done, *parts)
    assert snapshot(tmp_path) == {}


def test_weights_of_another_number_of_classes(world: World, tmp_path: Path) -> None:
    done = world.precompute("--weights", world.folder / "three.pt", "--cache", tmp_path / "cache")
    require_refused(
        done,
        "the teacher cifar_resnet20 has 3 classes and ",
        "images has 5: say which of the teacher's they are with --classes FILE, or keep no logits "
        "with --targets channels",
    )
    assert snapshot(tmp_path) == {}


def test_weights_that_are_no_state_dict(world: World, tmp_path: Path) -> None:
    for content in (b"", b"some text", world.teacher.read_bytes()[:5000]):
        (tmp_path / "weights.pt").write_bytes(content)
        done = world.precompute(
            *("--weights", tmp_path / "weights.pt", "--cache", tmp_path / "cache")
        )
        require_refused(done, "weights.pt is not a file of weights: it does not load with", "save")
    assert list(snapshot(tmp_path)) == ["weights.pt"]


def test_folders_without_images(world: World, tmp_path: Path) -> None:
    images, cache = tmp_path / "images", tmp_path / "cache"
    images.mkdir()
    done = world.precompute("--images", images, "--cache", cache)
    require_refused(done, "--split must be a folder in", "got train: found no folders")
    (images / "train").mkdir()
    done = world.precompute("--images", images, "--cache", cache)
    require_refused(
        done, "holds <class>/<name> ending in .jpg", f"there are no images in {images}/train"
    )
    shutil.copytree(world.images / "train" / "class0", images / "train" / "class0")
    (images / "train" / "class1").mkdir()
    (images / "train" / "class1" / "notes.txt").write_text("no image")
    done = world.precompute("--images", images, "--cache", cache)
    require_refused(done, f"1 of 2 classes in {images}/train have no images: class1")
    assert not cache.exists()


def test_a_file_where_the_cache_should_be(world: World, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    done = world.precompute("--cache", tmp_path / "cache")
    require_refused(done, f"{tmp_path}/cache/train", "cannot be written: Not a directory")
    assert snapshot(tmp_path) == {"cache": b"mine"}
    require_refused(
        world.train(tmp_path / "out", "--cache", tmp_path / "cache"),
        "--cache must hold train/manifest.json",
        "check the path, or make the cache with python precompute/run.py --split train --images",
    )
    assert snapshot(tmp_path) == {"cache": b"mine"}
