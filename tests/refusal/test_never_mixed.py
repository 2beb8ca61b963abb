"""A cache that was made from something else is refused in one line, and nothing of it changes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.opening import open_cache
from tests.helpers import require_refused, run, snapshot, turn_upside_down
from tests.refusals import World


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
