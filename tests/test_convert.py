"""A converted cache is, byte for byte, the one that precompute would have made with that codec."""

import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

import precompute.convert
from shared.cache.opening import FORMATS, open_cache
from shared.errors import run_command
from shared.records.identity import cache_id
from tests.helpers import (
    TEACHER,
    Finished,
    require_refused,
    run,
    run_precompute,
    snapshot,
    start_halting,
    write_image_folder,
    write_teacher,
)
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put, version_1

CONVERT = "precompute/convert.py"
PAIRS = [("exact", "half"), ("exact", "compact"), ("exact", "tiny"), ("half", "compact")]
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


def convert(cache: object, to: object, codec: str, *flags: object) -> Finished:
    """The command in this process, to save its start; the kills are of real ones."""
    arguments = [CONVERT, "--cache", cache, "--to", to, "--codec", codec, *flags]
    out, error = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [str(argument) for argument in arguments])
        run_command(precompute.convert.main)
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, out.getvalue(), error.getvalue())


def require_done(done: Finished, blocks: int) -> None:
    assert (done.returncode, "error" in done.stderr) == (0, False), (done.stdout, done.stderr)
    assert f": {blocks} blocks converted from " in done.stdout


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


@pytest.mark.parametrize("store", FORMATS)
def test_a_cache_of_version_1_stays_one(tmp_path: Path, store: str) -> None:
    for codec in ("exact", "half"):
        make_cache(tmp_path / codec, version_1(make_manifest(codec=codec, store=store)))
    require_done(convert(tmp_path / "exact", tmp_path / "new", "half"), 6)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")
    make_cache(tmp_path / "newer", make_manifest(codec="half", store=store))
    before = snapshot(tmp_path / "newer")
    done = convert(tmp_path / "exact", tmp_path / "newer", "half")
    require_refused(done, " has version 2 of the format and ", " has 1, which a conversion keeps: ")
    assert snapshot(tmp_path / "newer") == before


# Random numbers instead of a teacher: exact to half takes no weights


def make_pair(folder: Path, store: str = "zarr", samples: int = 10, views: int = 2) -> None:
    """`folder`/exact, and `folder`/half that a conversion must equal; blocks of 4."""
    for codec in ("exact", "half"):
        manifest = make_manifest(codec=codec, store=store, samples=samples, views=views)
        make_cache(folder / codec, manifest)


@pytest.mark.parametrize("store", FORMATS)
@pytest.mark.parametrize(("old", "new"), [*PAIRS, ("half", "tiny")])
def test_added_kinds_are_converted_too(tmp_path: Path, store: str, old: str, new: str) -> None:
    """Of a cache that keeps no logits: derived ones would need the weights."""
    added = {"attention1": (4,), "map2": (3, 2, 2)}
    for codec in {old, new}:
        manifest = make_manifest(codec=codec, store=store, targets=("channels",), added=added)
        make_cache(tmp_path / codec, manifest)
    done = convert(tmp_path / old, tmp_path / "new", new)
    require_done(done, 3 * 6)
    mine, theirs = snapshot(tmp_path / "new"), snapshot(tmp_path / new)
    assert mine.keys() == theirs.keys()
    if (old, new) != ("half", "tiny"):  # which carries half's error, and says so
        assert mine == theirs
    cache = open_cache(tmp_path / "new", "train")
    assert all(cache.missing_layers(*unit) == () for unit in cache.units())


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_folders_and_urls(tmp_path: Path, prefix: str) -> None:
    make_pair(tmp_path)
    require_done(convert(f"{prefix}{tmp_path}/exact", f"{prefix}{tmp_path}/new", "half"), 6)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


@pytest.mark.parametrize("store", FORMATS)
def test_killed_and_started_again(tmp_path: Path, store: str) -> None:
    blocks = 24
    make_pair(tmp_path, store, samples=4 * blocks, views=1)
    receipts = tmp_path / "new" / "train" / "receipts"
    flags = ("--cache", tmp_path / "exact", "--to", tmp_path / "new", "--codec", "half")
    process = start_halting("*/new/train/receipts/*", 3, tmp_path / "halted", CONVERT, *flags)
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    there = len(list(receipts.iterdir()))
    assert 2 < there < blocks
    require_done(run(CONVERT, *flags), blocks - there)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_what_is_lost_or_damaged_is_converted_again(tmp_path: Path) -> None:
    make_pair(tmp_path)
    new = tmp_path / "new"
    shutil.copytree(tmp_path / "half", new)
    require_done(convert(tmp_path / "exact", new, "half"), 0)
    (new / "train/receipts/v0001-b000001.json").unlink()
    (new / "train/targets.zarr/logits/c/0/2/0").unlink()
    flip_bit(new / "train/targets.zarr/channels/c/0/0/0")
    (new / "train/targets.zarr/label/c/1").unlink()  # of no block
    require_done(convert(tmp_path / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "half")


def test_views_that_only_one_side_has(tmp_path: Path) -> None:
    """More of the old cache's are added; more of the new cache's are left as they are."""
    make_pair(tmp_path / "one", views=1)
    make_pair(tmp_path / "two", views=2)
    new = tmp_path / "new"
    require_done(convert(tmp_path / "one" / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "one" / "half")
    require_done(convert(tmp_path / "two" / "exact", new, "half"), 3)
    assert snapshot(new) == snapshot(tmp_path / "two" / "half")
    (new / "train/receipts/v0000-b000001.json").unlink()
    require_done(convert(tmp_path / "one" / "exact", new, "half"), 1)
    assert snapshot(new) == snapshot(tmp_path / "two" / "half")


# Refusals, which write nothing


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random numbers: exact and half, zarr; link -> exact."""
    folder = tmp_path_factory.mktemp("caches")
    make_pair(folder)
    (folder / "link").symlink_to("exact")
    return folder


@pytest.mark.parametrize("to", ["exact", "half/../exact", "link", "file://exact"])
def test_the_same_place(caches: Path, to: str) -> None:
    before = snapshot(caches)
    protocol, separator, path = to.rpartition("file://")
    to = f"{protocol}{separator}{caches}/{path}"
    done = convert(caches / "exact", to, "half")
    require_refused(done, f"--cache and --to are both {to}, but a conversion makes another cache")
    assert snapshot(caches) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("exact", "exact"), ("half", "exact"), ("half", "half")],
)
def test_codecs_that_would_add_errors(caches: Path, tmp_path: Path, old: str, new: str) -> None:
    require_refused(
        convert(caches / old, tmp_path / "new", new),
        f"{old} cannot be converted to {new}, as ",
        "(exact to half or compact or tiny, half to compact or tiny, compact to tiny)",
        f": run precompute/run.py --codec {new}",
    )
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new"), [("compact", "half"), ("compact", "exact"), ("tiny", "half"), ("tiny", "tiny")]
)
def test_what_is_not_in_a_codec_is_not_made_of_it(
    world: World, tmp_path: Path, old: str, new: str
) -> None:
    done = convert(world.cache("zarr", old), tmp_path / "new", new)
    require_refused(done, f"{old} cannot be converted to {new}, ")
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("store", FORMATS)
def test_an_incomplete_cache(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(codec="exact", store=store)
    cache = open_empty(tmp_path / "old", manifest)
    for unit in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]:
        put(cache, make_block(manifest, *unit))
    require_refused(
        convert(tmp_path / "old", tmp_path / "new", "half"),
        f"the cache {tmp_path}/old/train is incomplete: block 1 of view 1 is missing; ",
    )
    assert not (tmp_path / "new").exists()


LABEL = "targets.zarr/label/c/1"
DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "lost labels": (LABEL, Path.unlink, "/train are missing or damaged ("),
    "bit of labels": (LABEL, flip_bit, "/train are missing or damaged ("),
    "no bytes of labels": (LABEL, lambda path: path.write_bytes(b""), f"{LABEL} does not"),
    "lost metadata": ("targets.zarr/zarr.json", Path.unlink, "targets.zarr/zarr.json does not"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache(tmp_path: Path, damage: str) -> None:
    make_pair(tmp_path)
    path, spoil, text = DAMAGES[damage]
    spoil(tmp_path / "exact" / "train" / path)
    done = convert(tmp_path / "exact", tmp_path / "new", "half")
    require_refused(done, text, "run the same precompute/run.py command again")
    assert not (tmp_path / "new").exists()


def test_a_damaged_block_is_not_converted(tmp_path: Path) -> None:
    make_pair(tmp_path)
    whole = snapshot(tmp_path / "exact")
    path = tmp_path / "exact/train/targets.zarr/logits/c/1/1/0"
    flip_bit(path)
    require_refused(
        convert(tmp_path / "exact", tmp_path / "new", "half"),
        f"{path} is damaged: it has ",
    )
    flip_bit(path)
    assert snapshot(tmp_path / "exact") == whole
    require_done(convert(tmp_path / "exact", tmp_path / "new", "half"), 2)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


@pytest.mark.parametrize("new", ["compact", "tiny"])
def test_the_head_of_another_teacher(world: World, tmp_path: Path, new: str) -> None:
    write_teacher(tmp_path / "other.pt", "cifar_resnet20", CLASSES, seed=1)
    write_teacher(tmp_path / "more.pt", "cifar_resnet20", CLASSES + 1)
    before = snapshot(tmp_path)
    for name, text in (
        ("other.pt", "does not hold the head of the cached teacher: its sha256 is "),
        ("more.pt", "does not fit cifar_resnet20 with stem cifar and 3 classes"),
    ):
        done = convert(
            world.cache("zarr", "exact"), tmp_path / "new", new, "--weights", tmp_path / name
        )
        require_refused(done, text, f"{tmp_path}/{name}")
    assert snapshot(tmp_path) == before


def test_places_that_cannot_be_used(caches: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    make_cache(tmp_path / "other", make_manifest(codec="half", seed=8))
    before = snapshot(tmp_path)
    old, nowhere = caches / "exact", tmp_path / "nowhere"
    for done, text in (
        (convert(nowhere, tmp_path / "new", "half"), f"{nowhere} does not exist; check"),
        (
            convert(old, tmp_path / "file", "half"),
            f"{tmp_path}/file/train/manifest.json cannot be written: ",
        ),
        (
            convert(old, tmp_path / "other", "half"),
            "other/train was made with seed 8 and this run asks for 7",
        ),
        (convert(old, "tape://x", "half"), "there is no fsspec driver for tape://x"),
        (convert(old, tmp_path / "new", "half", "--split", "val"), "--cache must hold val/"),
    ):
        require_refused(done, text)
    assert snapshot(tmp_path) == before
