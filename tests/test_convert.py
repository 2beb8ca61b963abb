"""A converted cache is, byte for byte, the one that precompute would have made with that codec."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shared.records.identity import cache_id
from shared.store.opening import FORMATS, open_cache
from tests.converting import PAIRS, convert, require_done
from tests.helpers import (
    TEACHER,
    require_refused,
    run,
    run_precompute,
    snapshot,
    write_image_folder,
    write_teacher,
)

CLASSES = 3


@dataclass(frozen=True)
class World:
    """What a teacher said: caches by format and codec, made when one first asks for them."""

    folder: Path

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher.pt"

    def cache(self, store: str, codec: str) -> Path:
        """11 images, one of them skipped, in 3 blocks; 2 views."""
        made = self.folder / store / codec
        if not made.exists():
            run_precompute(
                *("--images", self.folder / "images", "--skip-bad", 0.1, "--workers", 0),
                *(*TEACHER, "--weights", self.teacher),
                *("--size", 32, "--views", 2, "--block", 5, "--batch-size", 4),
                *("--format", store, "--codec", codec, "--cache", made),
            )
        return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=1)
    (folder / "images/train/class2/003.jpg").unlink()
    (folder / "images/train/class1/002.jpg").write_text("no image")
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    return World(folder)


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("store", FORMATS)
def test_every_file_is_that_of_a_run_with_the_teacher(
    world: World, tmp_path: Path, store: str, old: str, new: str
) -> None:
    before = snapshot(world.cache(store, old))
    done = convert(world.cache(store, old), tmp_path / "new", new)
    require_done(done, 6)
    assert f"{tmp_path}/new/train: 6 blocks converted from {old} to {new}, " in done.stdout
    expected = snapshot(world.cache(store, new))
    assert before != expected == snapshot(tmp_path / "new")
    assert snapshot(world.cache(store, old)) == before
    assert ("train/head.npy" in expected) == (new != "half")


def test_weights_may_lie_elsewhere_by_now(world: World, tmp_path: Path) -> None:
    cache, expected = (world.cache("zarr", codec) for codec in ("exact", "compact"))
    moved = world.teacher.rename(world.folder / "moved.pt")
    try:
        done = convert(cache, tmp_path / "new", "compact")
        require_refused(
            done, "--weights must be a file", f"there is no '{world.teacher}'; check the path"
        )
        assert not (tmp_path / "new").exists()
        require_done(convert(cache, tmp_path / "new", "compact", "--weights", moved), 6)
    finally:
        moved.rename(world.teacher)
    assert snapshot(tmp_path / "new") == snapshot(expected)


# tiny of what was made already: with half's error besides its own


@pytest.mark.parametrize("store", FORMATS)
def test_tiny_of_half_and_of_compact(world: World, tmp_path: Path, store: str) -> None:
    """Equal to each other, near the teacher's own tiny, said to be what they are, and verified."""
    for old in ("half", "compact"):
        before = snapshot(world.cache(store, old))
        # The head of compact is in the cache: weights that are gone are not missed.
        lost = () if old == "half" else ("--weights", tmp_path / "nowhere.pt")
        done = convert(world.cache(store, old), tmp_path / old, "tiny", *lost)
        require_done(done, 6)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("lost: ")]
        assert f"a mean carries the error of {old}, up to 2^-11 of itself, besides that of" in line
        assert snapshot(world.cache(store, old)) == before
    assert snapshot(tmp_path / "half") == snapshot(tmp_path / "compact")
    places = (tmp_path / "half", world.cache(store, "tiny"))
    made, whole = (open_cache(place, "train") for place in places)
    assert (made.manifest.converted_from, whole.manifest.converted_from) == ("half", None)
    assert cache_id(made.manifest) != cache_id(whole.manifest)
    for view in range(2):
        mine, theirs = (cache.read_view(view, ["channels", "scale"]) for cache in (made, whole))
        assert np.abs(mine["channels"].astype(int) - theirs["channels"]).max() <= 1
        np.testing.assert_allclose(mine["scale"], theirs["scale"], rtol=2**-11)
        assert not np.array_equal(mine["scale"], theirs["scale"])
    done = run("precompute/verify.py", "--cache", tmp_path / "half", check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith(": verified")


def test_what_the_teacher_says_is_not_mixed_into_tiny_of_half(world: World, tmp_path: Path) -> None:
    convert(world.cache("zarr", "half"), tmp_path / "new", "tiny")
    before = snapshot(tmp_path / "new")
    done = run_precompute(
        *("--images", world.folder / "images", "--skip-bad", 0.1, "--workers", 0),
        *(*TEACHER, "--weights", world.teacher, "--size", 32, "--views", 3),
        *("--block", 5, "--codec", "tiny", "--cache", tmp_path / "new"),
        check=False,
    )
    require_refused(done, 'was made with converted_from "half" and this run asks for null')
    assert snapshot(tmp_path / "new") == before


@pytest.mark.parametrize(
    ("old", "new"), [("compact", "half"), ("compact", "exact"), ("tiny", "half"), ("tiny", "tiny")]
)
def test_what_is_not_in_a_codec_is_not_made_of_it(
    world: World, tmp_path: Path, old: str, new: str
) -> None:
    done = convert(world.cache("zarr", old), tmp_path / "new", new)
    require_refused(done, f"{old} cannot be converted to {new}, ")
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("new", ["compact", "tiny"])
def test_the_head_of_another_teacher(world: World, tmp_path: Path, new: str) -> None:
    write_teacher(tmp_path / "other.pt", "cifar_resnet20", CLASSES, seed=1)
    write_teacher(tmp_path / "more.pt", "cifar_resnet20", CLASSES + 1)
    before = snapshot(tmp_path)
    text = "does not hold the head of the cached teacher: its sha256 is "
    for name in ("other.pt", "more.pt"):
        done = convert(
            world.cache("zarr", "exact"), tmp_path / "new", new, "--weights", tmp_path / name
        )
        require_refused(done, text, f"{tmp_path}/{name}")
    assert snapshot(tmp_path) == before
