"""The val split: the same pixels with a cache and without, of today's policy and of earlier caches.

At 72 px, where the two policies differ: networks of at most 64 px see the same with both.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, resize, resized_crop

from shared.choices import ONE_VIEW, POLICIES, VAL_POLICY, has_one_view
from shared.epochs.val_batches import image_batches
from shared.errors import InputError
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import PixelLoader
from shared.pixels.decode import decode
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.records.identity import require_comparable
from shared.store.checks import require_pixels
from shared.store.opening import FORMATS, Cache, open_cache
from shared.store.stored_views import stored_views
from tests.helpers import run, write_image_folder, write_teacher
from tests.small_cache import make_manifest
from train.answers import with_teacher

CLASSES, SIZE, SHORTER = 4, 72, 82  # 82 = round(72 * 256 / 224)
ASKED = {"resize-center": (), "center": ("--policy", "center")}  # policy: flags
MADE = [(store, policy) for store in FORMATS for policy in ASKED]
FACTS = {"classes": CLASSES, "size": SIZE}


@dataclass(frozen=True)
class World:
    folder: Path
    source: ImageSource  # 12 images of 36 to 60 px a side

    def cache(self, store: str, policy: str) -> Cache:
        return open_cache(self.folder / f"{store}-{policy}", "val")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=CLASSES, train=1, val=3)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    for store, policy in MADE:
        run(
            *("precompute/run.py", "--split", "val", "--images", folder / "images", *ASKED[policy]),
            *("--teacher", "cifar_resnet20", "--weights", folder / "teacher.pt", "--size", SIZE),
            *("--format", store, "--block", 8, "--workers", 0),
            *("--cache", folder / f"{store}-{policy}"),
        )
    return World(folder, open_source(str(folder / "images"), "val"))


def expected(source: ImageSource, policy: str) -> Tensor:
    """(12, 3, S, S) uint8, by torchvision alone."""
    views = []
    for index in range(len(source)):
        image = torch.from_numpy(decode(source.read(index))).permute(2, 0, 1).contiguous()
        if policy == "resize-center":
            views.append(center_crop(resize(image, [SHORTER], antialias=True), [SIZE, SIZE]))
        else:
            height, width = image.shape[1:]
            side = round(min(height, width) * 224 / 256)
            box = ((height - side) // 2, (width - side) // 2, side, side)
            views.append(resized_crop(image, *box, [SIZE, SIZE], antialias=True))
    return torch.stack(views)


def as_stored(pixels: Tensor, store: str) -> Tensor:
    """View shards hold JPEGs."""
    if store == "zarr":
        return pixels
    return torch.stack([decode_pixels(encode_pixels(image)) for image in pixels])


def test_without_a_cache_val_images_are_seen_as_by_torchvisions_transform(world: World) -> None:
    loader = PixelLoader((world.source,), SIZE, workers=0, pin_memory=False)
    pixels, labels = zip(*image_batches(loader, 0, world.source, 5), strict=True)
    assert torch.equal(torch.cat(pixels), expected(world.source, "resize-center"))
    assert torch.cat(labels).tolist() == world.source.labels.tolist()
    assert not torch.equal(torch.cat(pixels), expected(world.source, "center"))


@pytest.mark.parametrize(("store", "policy"), MADE)
def test_a_cached_val_split_holds_the_pixels_of_its_policy(
    world: World, store: str, policy: str
) -> None:
    """Also one of earlier versions, whose policy is center."""
    cache = world.cache(store, policy)
    assert (cache.manifest.policy, cache.manifest.views) == (policy, 1)
    views = stored_views(cache, 0, world.source, list(range(12)))
    pixels = torch.stack([*views.values()])
    assert torch.equal(pixels, as_stored(expected(world.source, policy), store))
    assert require_pixels(cache, world.source) > 0


@pytest.mark.parametrize(("store", "policy"), MADE)
def test_agreement_is_judged_on_the_pixels_that_the_teacher_saw(
    world: World, store: str, policy: str
) -> None:
    cache = world.cache(store, policy)
    answers = list(with_teacher(cache, None, FACTS, workers=0))
    pixels = torch.cat([batch.pixels for batch in answers])
    theirs = as_stored(expected(world.source, policy), store)
    if store == "webdataset":  # which come in an order of their own
        places = [
            int(np.flatnonzero([torch.equal(mine, view) for view in theirs])[0]) for mine in pixels
        ]
        assert sorted(places) == list(range(12))
    else:
        assert torch.equal(pixels, theirs)


@pytest.mark.parametrize(("store", "policy"), MADE)
def test_verify_passes(world: World, store: str, policy: str) -> None:
    done = run(
        *("precompute/verify.py", "--split", "val", "--samples", 12),
        *("--cache", world.folder / f"{store}-{policy}"),
    )
    assert done.stderr == "" and "cached against live: 12 views, 0 of which" in done.stdout


def test_going_on_with_an_earlier_cache_takes_its_policy(world: World) -> None:
    flags = (
        *("--split", "val", "--images", world.folder / "images", "--size", SIZE, "--block", 8),
        *("--teacher", "cifar_resnet20", "--weights", world.folder / "teacher.pt"),
        *("--cache", world.folder / "zarr-center"),
    )
    done = run("precompute/run.py", *flags, check=False)
    assert done.returncode == 2
    assert (
        'was made with policy "center" and this run asks for "resize-center": give the same'
        in done.stderr
    )
    run("precompute/run.py", *flags, "--policy", "center")


def test_a_student_is_judged_on_shards_of_either_policy() -> None:
    train = make_manifest(store="webdataset")
    for policy in POLICIES:
        val = make_manifest(store="webdataset", split="val", policy=policy, views=1)
        if has_one_view(policy):
            require_comparable(train, val, "here")
            continue
        with pytest.raises(InputError, match=f"split here has .* policy {VAL_POLICY} or center"):
            require_comparable(train, val, "here")
    assert set(ONE_VIEW) == set(ASKED)
