"""The views of a run: those of --set, of a built-in set, of the recipe, or of the cache."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.epochs.small_crops import note_small_crops
from shared.errors import InputError
from shared.images.source import open_source
from tests.image_trees import write
from tests.small_cache import make_cache, make_manifest
from train.flags import make_parser
from train.images import RunImages, _require_views_of, open_run_images
from train.run_recipe import recipe_of


def png(side: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.zeros((side, side + 2, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def opened(images: str, *words: str) -> RunImages:
    flags = make_parser().parse_args(["--images", images, "--recipe", "resnet18.ce", *words])
    return open_run_images(flags, recipe_of(flags), None)


@pytest.mark.parametrize(
    ("words", "policy", "size"),
    [
        ([], "pad-crop", 32),
        (["size=40"], "pad-crop", 40),
        (["policy=random-resized-crop"], "random-resized-crop", 32),
        (["policy=random-resized-crop", "size=16"], "random-resized-crop", 16),
    ],
)
def test_set_comes_before_what_suits_a_built_in_set(
    words: list[str], policy: str, size: int
) -> None:
    found = opened("digits", *(["--set", *words] if words else []))
    assert (found.policy.name, found.size) == (policy, size)


def test_a_folder_has_the_views_of_the_recipe(tmp_path: Path) -> None:
    write(tmp_path, {f"{split}/{c}/1.png": png(8) for split in ("train", "val") for c in "ab"})
    found = opened(str(tmp_path))
    assert (found.policy.name, found.size) == ("random-resized-crop", 224)


def test_the_views_of_a_cache_are_made(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", make_manifest())
    there = cache.manifest
    _require_views_of(cache, {"size": there.size + 1}, set())
    _require_views_of(cache, {"size": there.size}, {"size"})
    with pytest.raises(InputError, match=f"--set size=16 cannot be used .* size {there.size};"):
        _require_views_of(cache, {"size": 16}, {"size"})
    with pytest.raises(InputError, match="--set policy=random-resized-crop cannot be used"):
        _require_views_of(cache, {"policy": "random-resized-crop"}, {"policy"})


@pytest.mark.parametrize(
    ("side", "policy", "size", "told"),
    [
        (32, "pad-crop", 32, False),
        (39, "pad-crop", 32, False),
        (40, "pad-crop", 32, True),
        (32, "pad-crop", 16, True),
        (32, "random-resized-crop", 16, False),
        (32, "pad-crop", 64, False),  # refused where the first view is drawn
    ],
)
def test_small_crops_are_told(
    tmp_path: Path,
    side: int,
    policy: str,
    size: int,
    told: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path, {"train/a/1.png": b"not an image", "train/a/2.png": png(side)})
    note_small_crops(open_source(str(tmp_path), "train"), policy, size)
    error = capsys.readouterr().err
    assert error.startswith("NOTE: policy pad-crop cuts") == told
    assert (f"{side + 2} x {side}" in error) == told


def test_no_image_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {f"train/a/{i}.png": b"not an image" for i in range(9)})
    note_small_crops(open_source(str(tmp_path), "train"), "pad-crop", 32)
    assert capsys.readouterr().err == ""
