"""Kinds that are added to a cache: what is damaged, lost, killed or asked for wrongly."""

import shutil
from pathlib import Path

import pytest

from shared.store.receipt_index import INDEX
from tests.helpers import require_refused, run, snapshot, turn_upside_down
from tests.layers import EXTRA, World, every_format, known_here, world
from tests.processes import start, start_halting

__all__ = ["known_here", "world"]  # fixtures of the tests below


def layer_files(cache: Path, layer: str) -> list[Path]:
    found = [path for path in cache.rglob("*") if path.is_file() and f"{layer}" in str(path)]
    blocks = [path for path in found if path.suffix == ".tar" or "/c/" in str(path)]
    return sorted(blocks)


@every_format
@pytest.mark.parametrize("layer", ["attention3", "map3"])
def test_a_damaged_layer_is_found_and_made_again_alone(
    world: World, store: str, layer: str
) -> None:
    cache = world.whole(store)
    good = snapshot(cache)
    hit = layer_files(cache, layer)[1]
    data = bytearray(hit.read_bytes())
    data[len(data) // 2] ^= 1
    hit.write_bytes(data)
    done = world.verify(cache, check=False)
    assert done.returncode == 1 and str(hit.relative_to(cache / "train")) in done.stderr
    others = [path for path in cache.rglob("*") if path != hit and path.name != INDEX]
    untouched = {path: path.stat().st_mtime_ns for path in others}
    world.verify(cache, "--repair")
    assert snapshot(cache) == good
    moved = [path for path, time in untouched.items() if path.stat().st_mtime_ns != time]
    assert all(path.is_dir() or layer in str(path) for path in moved), moved


@every_format
def test_a_lost_receipt_of_a_layer(world: World, store: str) -> None:
    cache = world.whole(store)
    good = snapshot(cache)
    (cache / "train/receipts/v0001-b000002.map3.json").unlink()
    refused = run(
        *("tests/outside.py", "train/run.py", "--cache", cache, "--recipe", "probe.map3"),
        *("--out", cache / "run"),
        check=False,
    )
    require_refused(refused, "incomplete: block 2 of view 1 of map3 is missing")
    # A recipe that does not need the kind is not held up by it.
    run(
        *("tests/outside.py", "train/run.py", "--cache", cache, "--recipe", "probe.channels"),
        *("--out", world.folder / f"run-{store}", "--epochs", 1),
    )
    flags = ("--codec", "exact", "--format", store)
    done = world.make(cache, *flags)
    assert "blocks are there, map3 to add to 1," in done.stdout
    assert snapshot(cache) == good


@every_format
@pytest.mark.parametrize(("pattern", "count"), [("*map3*", 2), ("*receipts*energy*", 3)])
def test_a_kill_between_layers_loses_nothing(
    world: World, tmp_path: Path, store: str, pattern: str, count: int
) -> None:
    flags = ("--codec", "exact", "--format", store, "--targets", f"logits,channels,{EXTRA}")
    command = ("tests/outside.py", "precompute/run.py", "--split", "train", *world.flags, *flags)
    process = start_halting(pattern, count, tmp_path / "note", *command, "--cache", tmp_path / "c")
    process.signal(9)
    assert process.wait().returncode == -9
    world.make(tmp_path / "c", *flags)
    assert snapshot(tmp_path / "c") == snapshot(world.folder / store)


def test_two_processes_add_two_kinds_at_once(world: World, tmp_path: Path) -> None:
    flags = ("--codec", "exact", "--format", "zarr")
    world.make(tmp_path, *flags)
    command = ("precompute/run.py", "--split", "train", *world.flags, *flags)
    both = [
        start("tests/outside.py", *command, "--cache", tmp_path, "--targets", kinds)
        for kinds in ("attention,energy", "map3,grid4")
    ]
    for process in both:
        assert process.wait().returncode == 0
    world.make(tmp_path, *flags)  # what each did not know of the other's
    assert snapshot(tmp_path) == snapshot(world.folder / "zarr")


@pytest.mark.parametrize(
    ("targets", "codec", "parts"),
    [
        ("logits,chanels", "half", ["no kind of targets called 'chanels'", "attention1"]),
        ("attention4", "half", ["3 stages", "attention4", "from 1 to 3"]),
        ("logits", "compact", ["derives the logits", "add channels"]),
        (",", "half", ["must name what to keep"]),
    ],
)
def test_targets_that_cannot_be_kept(
    world: World, tmp_path: Path, targets: str, codec: str, parts: list[str]
) -> None:
    done = world.make(tmp_path, "--targets", targets, "--codec", codec, check=False)
    require_refused(done, *parts)
    assert not any(tmp_path.iterdir())


def test_a_recipe_says_which_command_adds_what_it_needs(world: World, tmp_path: Path) -> None:
    world.make(tmp_path / "c")
    done = run(
        *("tests/outside.py", "train/run.py", "--cache", tmp_path / "c", "--recipe", "probe.map3"),
        *("--out", tmp_path / "run"),
        check=False,
    )
    require_refused(done, "recipe probe.map3 needs map3", "--targets map3")


def test_a_kind_is_not_added_to_views_of_other_pixels(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.folder / "images", tmp_path / "images")
    flags = ("--images", tmp_path / "images")
    world.make(tmp_path / "c", *flags)
    before = snapshot(tmp_path / "c" / "train" / "receipts")
    for path in sorted((tmp_path / "images" / "train").rglob("*.jpg")):
        turn_upside_down(path)
    done = world.make(tmp_path / "c", *flags, "--targets", "map3", check=False)
    require_refused(done, "other pixels")
    assert snapshot(tmp_path / "c" / "train" / "receipts") == before


def test_an_unknown_kind_in_a_manifest_is_one_line(world: World) -> None:
    """What a later version, or somebody's own code, has added."""
    cache = world.whole("zarr")
    done = run("precompute/verify.py", "--cache", cache, check=False)  # without energy's entry
    require_refused(done, "there is no kind of targets called 'energy'")
