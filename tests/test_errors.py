"""Bad input ends in one line that says what is wrong, exit code 2, and nothing lost or written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shared.cache.opening import open_cache
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run,
    run_precompute,
    run_train,
    snapshot,
    turn_upside_down,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished
from train.run_files import read_metrics

CD = "s_resnet18.t_resnet34.cd.ce"  # needs channels only
KD = "s_resnet18.t_resnet34.kd.ce"  # needs logits


@dataclass(frozen=True)
class World:
    images: Path  # 5 classes, 4 images each
    cache: Path  # of them: 3 blocks of 8, 2 views
    teacher: Path
    folder: Path  # other teachers

    def precompute(self, *flags: object, check: bool = False) -> Finished:
        """The command that made the cache, other flags after it; the last of a name counts."""
        return run_precompute(
            *("--images", self.images, "--weights", self.teacher, *TEACHER),
            *("--views", 2, "--size", 32, "--block", 8, "--batch-size", 7, "--cache", self.cache),
            *flags,
            check=check,
        )

    def train(self, out: Path, *flags: object, check: bool = False) -> Finished:
        return run_train(
            *(*STUDENT, "--cache", self.cache, "--images", self.images, "--recipe", CD),
            *("--epochs", 1),
            *("--batch-size", 10, "--lr", 0.01, "--out", out, *flags),
            check=check,
        )

    def copied(self, folder: Path) -> "World":
        """With images and a cache that may be damaged."""
        shutil.copytree(self.images, folder / "images")
        shutil.copytree(self.cache, folder / "cache")
        return World(folder / "images", folder / "cache", self.teacher, self.folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=5, train=4, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 5)
    write_teacher(folder / "other.pt", "cifar_resnet20", 5, seed=1)
    write_teacher(folder / "three.pt", "cifar_resnet20", 3)
    world = World(folder / "images", folder / "cache", folder / "teacher.pt", folder)
    world.precompute(check=True)
    return world


@pytest.fixture
def spare(world: World, tmp_path: Path) -> World:
    return world.copied(tmp_path)


# Flags of precompute


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
        "does not fit cifar_resnet20 with stem cifar and 5 classes",
        "differs in 2 entries, first fc.weight is (3, 64) there and (5, 64) here",
        "give the architecture, stem and data that the weights were trained with",
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


# Images that do not decode


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
    assert [unit for unit in cache.units() if cache.is_done(*unit)] == [(0, 0), (0, 1)]
    bad.write_bytes(sound)
    assert "2 of 6 blocks are there" in spare.precompute(check=True).stdout
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


# A cache of something else


def add_image(images: Path) -> None:
    shutil.copy(images / "train/class1/000.jpg", images / "train/class1/000a.jpg")


def remove_image(images: Path) -> None:
    (images / "train/class1/000.jpg").unlink()


def grow_image(images: Path) -> None:
    with (images / "train/class1/000.jpg").open("ab") as file:
        file.write(b"\0")


CHANGES: list[Callable[[Path], None]] = [add_image, remove_image, grow_image]


@pytest.mark.parametrize(
    ("flags", "fact", "there", "here"),
    [
        (("--seed", 5), "seed", "0", "5"),
        (("--codec", "exact"), "codec", '"half"', '"exact"'),
        (("--policy", "pad-crop"), "policy", '"random-resized-crop"', '"pad-crop"'),
        (("--size", 40), "size", "32", "40"),
        (("--precision", "bf16"), "precision", '"fp32"', '"bf16"'),
        (("--block", 4), "block", "8", "4"),
        (("--limit", 10), "source samples", "20", "10"),
        (("--format", "webdataset"), "format", '"zarr"', '"webdataset"'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_cache_is_never_mixed(
    world: World, flags: tuple[object, ...], fact: str, there: str, here: str
) -> None:
    before = snapshot(world.cache)
    done = world.precompute(*flags)
    require_refused(
        done,
        f"the cache {world.cache}/train was made with {fact} {there} and this run asks for {here}",
        "give the same, or another --cache",
    )
    assert snapshot(world.cache) == before


def test_a_cache_of_another_teacher(world: World) -> None:
    before = snapshot(world.cache)
    done = world.precompute("--weights", world.folder / "other.pt")
    mine = open_cache(world.cache, "train").manifest.teacher.sha256
    require_refused(
        done, f'{world.cache}/train was made with teacher sha256 "{mine}" and this run asks for "'
    )
    assert snapshot(world.cache) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_of_other_images(
    world: World, spare: World, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    before = snapshot(spare.cache)
    change(spare.images)
    samples = {add_image: 21, remove_image: 19, grow_image: 20}[change]
    mine = open_cache(spare.cache, "train").manifest.source.digest
    if samples == 20:
        named = f'source digest "{mine}" and this run asks for "'
    else:
        named = f"source samples 20 and this run asks for {samples}"
    require_refused(spare.precompute(), f"the cache {spare.cache}/train was made with ", named)
    verify = ("precompute/verify.py", "--cache", spare.cache, "--images", spare.images)
    for done in (spare.train(tmp_path / "out"), run(*verify, check=False)):
        require_refused(
            done,
            f"{spare.images} does not hold the images that {spare.cache}/train was made from: ",
            f"it lists {min(samples, 20)} now (digest ",
            f"the cache was made from 20 of {world.images} (digest {mine[:12]})",
            "give the same images, or another --cache",
        )
    assert snapshot(spare.cache) == before and not (tmp_path / "out").exists()


def test_an_image_replaced_by_another_of_the_same_size(spare: World, tmp_path: Path) -> None:
    """The listing is the same; the checksums of a few views are not."""
    path = spare.images / "train/class0/000.jpg"  # the first sample has its checksum in a receipt
    before = snapshot(spare.cache)
    turn_upside_down(path)
    require_refused(
        spare.train(tmp_path / "out"),
        "view 0 of class0/000.jpg does not have the pixels that the teacher saw",
        "the image has changed, or this machine decodes or resizes differently",
    )
    assert snapshot(spare.cache) == before and not (tmp_path / "out").exists()


def test_an_image_replaced_by_garbage_of_the_same_size(spare: World, tmp_path: Path) -> None:
    path = spare.images / "train/class0/000.jpg"
    path.write_bytes(b"?" * path.stat().st_size)
    require_refused(spare.train(tmp_path / "out"), "class0/000.jpg", "not an image")
    assert not (tmp_path / "out").exists()


# A damaged cache


def test_a_missing_view(spare: World, tmp_path: Path) -> None:
    whole = snapshot(spare.cache)
    (spare.cache / "train/receipts/v0001-b000002.json").unlink()
    require_refused(
        spare.train(tmp_path / "out"),
        f"the cache {spare.cache}/train is incomplete: block 2 of view 1 is missing; ",
        "run the same precompute/run.py command again, it makes what is missing",
    )
    assert not (tmp_path / "out").exists()
    assert "5 of 6 blocks are there" in spare.precompute(check=True).stdout
    assert snapshot(spare.cache) == whole


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip_bit, truncate])
def test_a_damaged_block_is_refused_and_made_anew(
    spare: World, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole = snapshot(spare.cache)
    path = spare.cache / "train/targets.zarr/channels/c/0/1/0"
    damage(path)
    require_refused(
        spare.train(tmp_path / "out"),
        f"{path} is damaged: it has ",
        "; run the same precompute/run.py command again",
    )
    assert "5 of 6 blocks are there" in spare.precompute(check=True).stdout
    assert snapshot(spare.cache) == whole


def test_epochs_before_a_damaged_view_are_kept(spare: World, tmp_path: Path) -> None:
    flip_bit(spare.cache / "train/targets.zarr/channels/c/1/1/0")
    require_refused(
        spare.train(tmp_path / "out", "--epochs", 2), "channels/c/1/1/0 is damaged: it has "
    )
    assert [record["epoch"] for record in read_metrics(tmp_path / "out")] == [0, 0]
    spare.precompute(check=True)
    done = spare.train(tmp_path / "out", "--epochs", 2, check=True)
    assert "going on at epoch 1 of 2" in done.stdout
    assert [record["epoch"] for record in read_metrics(tmp_path / "out")] == [0, 0, 1, 1]


def test_a_damaged_receipt_and_manifest(spare: World, tmp_path: Path) -> None:
    whole = snapshot(spare.cache)
    receipt = spare.cache / "train/receipts/v0000-b000000.json"
    for content in (b"", receipt.read_bytes().replace(b"1", b"2", 1)):
        receipt.write_bytes(content)
        require_refused(
            spare.train(tmp_path / "out"),
            "receipts/v0000-b000000.json is damaged (",
            "): run the same precompute/run.py command again",
        )
        spare.precompute(check=True)
        assert snapshot(spare.cache) == whole
    manifest = spare.cache / "train/manifest.json"
    facts = json.loads(manifest.read_text())
    for changed, rule in (
        ("{", "is not a manifest in JSON"),
        (
            json.dumps({**facts, "format_version": 99}),
            "has format version '99', and this code reads 1 to 2: ",
        ),
        (json.dumps({**facts, "seed": 1}), " was edited or is damaged ("),
    ):
        manifest.write_text(changed)
        require_refused(spare.train(tmp_path / "out"), rule, f"{spare.cache}/train/manifest.json")
        require_refused(spare.precompute(), rule)
        assert manifest.read_text() == changed
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_needs_logits_from_a_cache_without_them(spare: World, tmp_path: Path) -> None:
    whole = snapshot(spare.cache)
    shutil.rmtree(spare.cache / "train/targets.zarr/logits")
    require_refused(
        spare.train(tmp_path / "kd", "--recipe", KD),
        f"recipe {KD} needs logits, which is missing from {spare.cache}/train",
        "run precompute/run.py again, or choose a recipe that does not need it",
    )
    assert not (tmp_path / "kd").exists()
    spare.train(tmp_path / "cd", "--recipe", CD, check=True)
    spare.precompute(check=True)
    assert snapshot(spare.cache) == whole


# Flags of training


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--recipe", "nonsense"), ["there is no recipe 'nonsense'. --help lists all recipes"]),
        (
            ("--recipe", "resnet18.cd"),
            ["no recipe 'resnet18.cd': did you mean resnet18.ce? --help"],
        ),
        (("--cache", "nowhere"), ["--cache must hold train/manifest.json: nowhere does not exist"]),
        (("--cache", "nowhere"), ["check the path", "--images SOURCE --cache nowhere"]),
        (("--images", "nowhere"), ["--images must be a folder", "got nowhere: no such folder"]),
        (("--teacher", "none"), [f"recipe {CD} needs channels from a teacher: got --teacher none"]),
        (("--batch-size", 0), ["--batch-size must be above 0: got 0"]),
        (("--epochs", 0), ["--epochs must be above 0: got 0"]),
        (("--lr", 0), ["--lr must be above 0: got 0"]),
        (("--lr", "nan"), ["--lr must be above 0: got nan"]),
        (("--seed", -1), ["--seed must be 0 or more and below 2^63: got -1"]),
        (("--workers", -1), ["--workers must be 0 or more: got -1"]),
        (("--device", "nonsense"), ["--device nonsense cannot be used here ("]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_training_flags_that_cannot_be_used(
    world: World, tmp_path: Path, flags: tuple[object, ...], parts: list[str]
) -> None:
    require_refused(world.train(tmp_path / "out", *flags), *parts)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("teacher", ["cached", "live"])
def test_a_teacher_without_a_cache(world: World, tmp_path: Path, teacher: str) -> None:
    done = run_train(
        *("--teacher", teacher, "--images", world.images, "--out", tmp_path / "out"), check=False
    )
    require_refused(
        done,
        f"--teacher {teacher} takes views and targets from a cache: no --cache was given",
        "make one with precompute/run.py, or train without with --teacher none",
    )
    assert snapshot(tmp_path) == {}


def test_a_live_teacher_with_other_weights(world: World, tmp_path: Path) -> None:
    other = world.folder / "other.pt"
    mine = open_cache(world.cache, "train").manifest.teacher.sha256
    require_refused(
        world.train(tmp_path / "out", "--teacher", "live", "--weights", other),
        f"{other} is not the cached teacher: its sha256 is ",
        f"the cache was made with weights of {mine[:12]}; ",
        "give the same file with --weights",
    )
    require_refused(
        world.train(
            *(tmp_path / "out", "--teacher", "live", "--weights", world.folder / "three.pt")
        ),
        "does not fit cifar_resnet20 with stem cifar and 5 classes",
    )
    assert snapshot(tmp_path) == {}


def test_a_val_split_that_does_not_fit(spare: World, tmp_path: Path) -> None:
    shutil.rmtree(spare.images / "val" / "class3")
    done = spare.train(tmp_path / "out")
    require_refused(
        done, f"train and val of {spare.images} have different classes: 5 and 4, or other names"
    )
    shutil.rmtree(spare.images / "val")
    require_refused(
        spare.train(tmp_path / "out"),
        f"{spare.images} has no val split, which this command needs: found train; add a folder val",
    )
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_run_should_be(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    require_refused(world.train(tmp_path / "out"), f"{tmp_path}/out", "cannot be written: ")
    assert snapshot(tmp_path) == {"out": b"mine"}


def test_a_loss_that_is_not_finite_stops_the_run(world: World, tmp_path: Path) -> None:
    done = world.train(tmp_path / "out", "--lr", 1e30, "--epochs", 2)
    require_refused(done, "the loss is not finite any more: in epoch 0", "lower --lr")
    assert not (tmp_path / "out" / "last.pt").exists() and not read_metrics(tmp_path / "out")


def test_val_images_that_do_not_decode_are_told_once(spare: World, tmp_path: Path) -> None:
    bad = spare.images / "val" / "class1" / "000.jpg"
    bad.write_bytes(b"?" * bad.stat().st_size)
    done = spare.train(tmp_path / "out", "--epochs", 2, check=True)
    assert done.stderr == (
        "NOTE: 1 of 5 val images do not decode and count as wrong; repair or remove them\n"
    )
    records = read_metrics(tmp_path / "out")
    assert [record["undecodable"] for record in records[1::2]] == [1, 1]


# Report


def test_a_report_on_what_is_no_run(world: World, tmp_path: Path) -> None:
    def report(*runs: Path) -> Finished:
        return run("train/report.py", *runs, "--out", tmp_path / "new" / "a.png", check=False)

    nowhere = tmp_path / "nowhere"
    require_refused(report(nowhere), f"{nowhere} is not a run folder: it does not exist")
    world.train(tmp_path / "run", check=True)
    require_refused(report(tmp_path / "run", nowhere), f"{nowhere} is not a run folder: ")
    for name in ("metrics.jsonl", "done"):
        (tmp_path / "run" / name).unlink()
    require_refused(report(tmp_path / "run"), f"{tmp_path}/run has no finished epochs to report")
    (tmp_path / "run" / "run.json").write_text("{")
    require_refused(report(tmp_path / "run"), "its run.json is not one that train/run.py wrote (")
    assert not (tmp_path / "new").exists()
