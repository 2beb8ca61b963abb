"""View shards: every sample once an epoch for any ranks and workers, and what is in them."""

import argparse
import gc
import io
import json
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from shared.distributed import World
from shared.epochs.streamed import Streamed
from shared.loaders.shard_loader import ShardLoader, StreamBatch
from shared.pixels.decode import decode
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.store.opening import Cache, open_cache
from shared.store.static_files import stored_labels
from shared.store.stored_views import images
from tests.helpers import (
    STUDENT,
    TEACHER,
    run,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.small_cache import make_cache, make_keys, make_labels, make_manifest
from train.flags import add_flags
from train.input import feed_options
from train.setup import make_setup

# 3 workers on the 2 cores of a small machine are slow, not wrong.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views of 37 images in uneven shards of 5 (the last of 2), one image skipped, and val."""
    folder = tmp_path_factory.mktemp("shards")
    write_image_folder(folder / "images", classes=4, train=9, val=3)
    (folder / "images" / "train" / "class3" / "bad.jpg").write_bytes(b"no image")
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 4)
    flags = (
        *("--images", folder / "images", "--weights", folder / "teacher.pt", "--size", 32),
        *(*TEACHER, "--format", "webdataset", "--codec", "exact"),
        *("--cache", folder / "cache", "--block", 5, "--skip-bad", 0.1),
    )
    run_precompute(*flags, "--views", 2)
    run("precompute/run.py", "--split", "val", *flags)
    return folder


@pytest.fixture(scope="module")
def cache(shards: Path) -> Cache:
    return open_cache(shards / "cache", "train")


def epoch_of(
    cache: Cache, epoch: int, world: int, workers: int, batch_size: int = 4
) -> list[list[StreamBatch]]:
    """By rank, the batches of an epoch."""
    fields = ["channels", "logits"]
    return [
        list(ShardLoader(cache, fields, batch_size, 3, workers, False, rank, world).batches(epoch))
        for rank in range(world)
    ]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_sample_comes_once_an_epoch(cache: Cache, world: int, workers: int) -> None:
    ranks = epoch_of(cache, 1, world, workers)
    sizes = [[len(batch.index) for batch in batches] for batches in ranks]
    loader = ShardLoader(cache, [], 4, 3, workers, False, 0, world)
    assert loader.sizes(1) == list(zip(*sizes, strict=True)) and loader.steps(1) == len(sizes[0])
    index = sorted(i for batches in ranks for batch in batches for i in batch.index.tolist())
    (skipped,) = [index for index, _, _ in cache.skipped()]
    assert index == [i for i in range(cache.manifest.samples) if i != skipped]


def test_a_batch_carries_what_the_shard_holds(cache: Cache) -> None:
    stored = cache.read_view(1, ["channels", "logits", "pred"])
    blocks = range(cache.manifest.blocks)
    jpegs = {k: v for b in blocks for k, v in images(cache, 1, b).items()}
    labels = stored_labels(cache)
    for batch in epoch_of(cache, 1, 1, 0)[0]:
        rows = batch.index.numpy()
        for name, values in batch.fields.items():
            assert np.array_equal(values.numpy(), stored[name][rows]), name
        assert np.array_equal(batch.pred.numpy(), stored["pred"][rows])
        assert np.array_equal(batch.label.numpy(), labels[rows])
        for row, index in enumerate(rows.tolist()):
            assert torch.equal(batch.pixels[row], decode_pixels(jpegs[index]))


def test_the_order_is_shuffled_within_and_over_shards_and_by_epoch(cache: Cache) -> None:
    orders = []
    for epoch in (0, 2):  # the same view
        (batches,) = epoch_of(cache, epoch, 1, 0)
        orders.append([i for batch in batches for i in batch.index.tolist()])
        (again,) = epoch_of(cache, epoch, 1, 0)
        assert orders[-1] == [i for batch in again for i in batch.index.tolist()]
    assert orders[0] != orders[1]
    blocks = (cache.manifest.place(np.array(orders[0])) // 5).tolist()
    assert blocks != sorted(blocks)
    changes = sum(a != b for a, b in pairwise(blocks))
    assert changes > len(set(blocks)), "samples of a shard stay together"


def test_persistent_workers_take_the_next_epoch(cache: Cache) -> None:
    loader = ShardLoader(cache, [], 4, 3, 2, False)
    seen = []
    for epoch in range(4):
        batches = list(loader.batches(epoch))
        assert len(batches) == loader.steps(epoch)
        seen.append([i for batch in batches for i in batch.index.tolist()])
    assert len({tuple(order) for order in seen}) == 4
    assert len({tuple(sorted(order)) for order in seen}) == 1


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's reader
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_are_valid_for_plain_webdataset_and_numpy(shards: Path, cache: Cache) -> None:
    paths = sorted(map(str, (shards / "cache" / "train" / "shards").glob("v0000-*.tar")))
    dtype = np.dtype(
        [
            (name, kind, tuple(shape))
            for name, kind, shape in json.loads(
                (shards / "cache" / "train" / "shards" / "targets.json").read_text()
            )
        ]
    )
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    gc.collect()  # so that the reader's warnings come here
    assert len(samples) == cache.manifest.samples - 1
    logits = cache.read_view(0, ["logits"])["logits"]
    for sample in samples:
        record = np.frombuffer(sample["targets"], dtype)[0]
        assert np.array_equal(record["logits"], logits[int(sample["__key__"])])
        facts = json.loads(sample["json"])
        assert facts["index"] == int(sample["__key__"]) and 0 <= facts["label"] < 4
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            assert image.size == (32, 32) and image.format == "JPEG"


def test_the_bytes_of_a_tar_hold_no_time_and_no_owner(shards: Path) -> None:
    with tarfile.open(shards / "cache" / "train" / "shards" / "v0000-b000000.tar") as tar:
        for member in tar:
            owner = (member.mtime, member.uid, member.gid, member.uname, member.gname)
            assert owner == (0, 0, 0, "", "")


def test_jpeg_of_a_view_is_420_at_95_and_near_the_pixels() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(3, 64, 1) * 3
    data = encode_pixels(ramp)
    with Image.open(io.BytesIO(data)) as image:
        assert image.layer[0][1:3] == (2, 2), "4:2:0: luma is sampled twice as densely"  # type: ignore[attr-defined]
        assert image.quantization[0][0] == 2, "the first step of quality 95"
    pixels = decode_pixels(data)
    assert pixels.shape == (3, 64, 64) and pixels.permute(1, 2, 0).is_contiguous()
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(data))
    assert (pixels.int() - ramp.int()).abs().float().mean() < 1


def test_training_from_shards_equals_the_live_teacher_and_needs_no_images(
    shards: Path, tmp_path: Path
) -> None:
    """The live teacher sees the decoded JPEGs, as it did when the shards were made."""
    (shards / "images").rename(shards / "images are gone")
    states = {}
    for teacher in ("cached", "live"):
        run_train(
            *(*STUDENT, "--cache", shards / "cache", "--weights", shards / "teacher.pt"),
            *("--teacher", teacher, "--epochs", 3, "--batch-size", 12, "--lr", 0.02),
            *("--out", tmp_path / teacher),
        )
        states[teacher] = torch.load(tmp_path / teacher / "last.pt", weights_only=True)
    (shards / "images are gone").rename(shards / "images")
    for name, value in states["cached"]["student"].items():
        assert torch.equal(value, states["live"]["student"][name]), name


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's reader
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_tells_which_image_a_sample_is(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest(store="webdataset"))
    paths = sorted(map(str, (cache.files.root / "shards").glob("v0000-*.tar")))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    gc.collect()  # so that the reader's warnings come here
    order = np.concatenate([cache.manifest.samples_of(block) for block in range(3)])
    assert [sample["json"] for sample in samples] == [
        {"index": int(i), "key": make_keys()[i], "label": int(make_labels()[i])} for i in order
    ]
    assert [int(sample["__key__"]) for sample in samples] == order.tolist()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("size", "dealt"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_val_split_is_dealt_to_the_processes(
    shards: Path, size: int, dealt: bool, workers: int
) -> None:
    """12 images in 3 shards: with more processes than shards each evaluates all of them."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = (*STUDENT, "--cache", str(shards / "cache"), "--batch-size", "8", "--device", "cpu")
    setup = make_setup(parser.parse_args([*flags, "--workers", str(workers)]))
    seen = []
    for rank in range(size):
        feed = Streamed(feed_options(replace(setup, world=World(rank, size))))
        assert feed.val_world == (World(rank, size) if dealt else World())
        labels = [batch.labels for batch in feed.val_batches()]
        assert max(map(len, labels)) == feed.val_rows <= -(-8 // size) + 1
        seen.append(torch.cat(labels).tolist())
    expected = stored_labels(open_cache(shards / "cache", "val")).tolist()
    if dealt:
        assert sorted(label for own in seen for label in own) == sorted(expected)
    else:
        assert all(sorted(own) == sorted(expected) for own in seen)
