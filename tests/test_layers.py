"""Kinds of targets that are added to a cache: each is a layer with files and receipts of its own.

Through the commands, with a kind, a loss and recipes from outside (tests/outside.py) among them.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.cache.opening import open_cache
from shared.targets.kinds import KINDS
from tests.helpers import (
    Finished,
    require_refused,
    run,
    snapshot,
    start,
    start_halting,
    turn_upside_down,
    write_image_folder,
    write_teacher,
)
from tests.outside import ENERGY, PROBED
from train.windows import Windows

EXTRA = "attention,map3,grid4,energy"
LAYERS = ("attention1", "attention2", "attention3", "energy", "grid4", "map3")
VIEWS, BLOCKS = 2, 3  # 24 images in blocks of 8
every_format = pytest.mark.parametrize("store", ["zarr", "webdataset"])


@dataclass(frozen=True)
class World:
    folder: Path
    flags: tuple[object, ...]

    def make(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        command = ("tests/outside.py", "precompute/run.py", "--split", "train", *self.flags)
        return run(*command, "--cache", cache, *flags, check=check)

    def verify(self, cache: Path, *flags: object, check: bool = True) -> Finished:
        command = ("tests/outside.py", "precompute/verify.py", "--cache", cache, "--samples", 16)
        return run(*command, *flags, check=check)

    def whole(self, store: str) -> Path:
        """A copy of a cache with all kinds, codec exact."""
        copy = self.folder / "copies" / f"{store}{len(os.listdir(self.folder / 'copies'))}"
        shutil.copytree(self.folder / store, copy)
        return copy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("layers")
    (folder / "copies").mkdir()
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    flags = ("--images", folder / "images", "--weights", folder / "teacher.pt")
    flags += ("--teacher", "cifar_resnet20", "--size", 32, "--block", 8, "--views", VIEWS)
    made = World(folder, (*flags, "--batch-size", 8))
    for store in ("zarr", "webdataset"):
        all_kinds = f"logits,channels,{EXTRA}"
        flags = ("--codec", "exact", "--format", store, "--targets", all_kinds)
        made.make(folder / store, *flags)
    yield made
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def known_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, too."""
    monkeypatch.setitem(KINDS, "energy", ENERGY)


@every_format
def test_a_kind_that_is_added_touches_nothing_and_has_the_bytes_of_one_from_the_start(
    world: World, tmp_path: Path, store: str
) -> None:
    flags = ("--codec", "exact", "--format", store)
    world.make(tmp_path, *flags)
    before = snapshot(tmp_path)
    done = world.make(tmp_path, *flags, "--targets", "attention3")
    assert f"{VIEWS * BLOCKS} to make" in done.stdout
    between = snapshot(tmp_path)
    changed = {path for path, data in before.items() if between[path] != data}
    assert changed == {"train/manifest.json"}
    assert len(between) > len(before)
    world.make(tmp_path, *flags, "--targets", EXTRA)
    assert snapshot(tmp_path) == snapshot(world.folder / store)
    # What is there is all that a run without --targets wants.
    again = world.make(tmp_path, *flags)
    assert ", 0 to make" in again.stdout
    assert snapshot(tmp_path) == snapshot(world.folder / store)


@every_format
def test_more_views_have_every_kind(world: World, store: str) -> None:
    cache = world.whole(store)
    flags = ("--codec", "exact", "--format", store, "--views", VIEWS + 1)
    done = world.make(cache, *flags)
    assert f"{BLOCKS} to make" in done.stdout
    opened = open_cache(cache, "train")
    assert opened.manifest.layers == ("", *LAYERS) and opened.is_complete()
    assert opened.manifest.views == VIEWS + 1


@every_format
def test_verify_proves_every_kind(world: World, store: str) -> None:
    done = world.verify(world.folder / store)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    named = {row.split("|")[1].strip() for row in rows}
    assert {"logits", "channels, stage 1", *LAYERS} <= named
    for row in rows:
        _, _, largest, relative, beyond, control, _ = row.split("|")
        assert float(largest) == float(relative) == 0, row  # bit equal
        assert beyond.strip() == "0 of 16" and control.strip().endswith("16 of 16"), row
    whole = VIEWS * BLOCKS * (1 + len(LAYERS))
    assert f"{whole} of {whole} blocks intact" in done.stdout


@every_format
@pytest.mark.parametrize("codec", ["half", "compact", "tiny"])
def test_codecs_hold_every_kind_within_their_bounds(
    world: World, tmp_path: Path, store: str, codec: str
) -> None:
    flags = ("--codec", codec, "--format", store, "--targets", f"logits,channels,{EXTRA}")
    world.make(tmp_path / "made", *flags)
    done = world.verify(tmp_path / "made")
    assert done.stdout.endswith("verified\n")
    # The same bytes without the teacher, from the exact cache.
    run(
        *("tests/outside.py", "precompute/convert.py", "--cache", world.folder / store),
        *("--to", tmp_path / "converted", "--codec", codec),
    )
    assert snapshot(tmp_path / "converted") == snapshot(tmp_path / "made")


@every_format
@pytest.mark.parametrize("window", [None, 300_000])
def test_cached_equals_live_for_every_kind(
    world: World, tmp_path: Path, store: str, window: int | None
) -> None:
    """With `window`, which a zarr cache's view does not fit into: window by window."""
    if window and store == "webdataset":
        pytest.skip("view shards are streamed in any case")
    environment = {"WINDOW": str(window)} if window else {}
    for teacher in ("cached", "live"):
        run(
            *("tests/outside.py", "train/run.py", "--cache", world.folder / store),
            *("--recipe", "probe", "--teacher", teacher, "--out", tmp_path / teacher),
            **environment,
        )
    cached, live = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("cached", "live")
    )
    assert cached["student"].keys() == live["student"].keys()
    for name, value in cached["student"].items():
        assert torch.equal(value, live["student"][name]), name
    metrics = (tmp_path / "cached" / "metrics.jsonl").read_text()
    assert all(f'"{kind}": ' in metrics for kind in PROBED)


def test_a_window_changes_the_order_and_loses_no_sample(world: World) -> None:
    manifest = open_cache(world.folder / "zarr", "train").manifest
    samples = np.arange(24)
    whole = Windows(manifest, samples, row_bytes=10, batch_size=5, seed=1)
    assert whole.count == 1
    cut = Windows(manifest, samples, row_bytes=1 << 32, batch_size=5, seed=1)
    assert cut.count == BLOCKS
    for epoch in range(3):
        windows = cut.of(epoch)
        seen = np.concatenate([step for window in windows for step in window.steps])
        assert sorted(seen) == list(range(24))
        for window in windows:
            assert window.blocks is not None
            assert {int(i) // 8 for step in window.steps for i in step} == set(window.blocks)
        assert sum(len(window.steps) for window in windows) == cut.steps(epoch)
    assert len({tuple(w.blocks for w in cut.of(epoch)) for epoch in range(9)}) > 3
    # The folder is sorted by class, eight images each: a window of one block holds one class.
    assert cut.class_share(samples // 8) == pytest.approx(1 / 3)
    assert whole.class_share(samples // 8) == 1


def test_a_run_is_told_of_windows_that_hold_few_classes(world: World, tmp_path: Path) -> None:
    done = run(
        *("tests/outside.py", "train/run.py", "--cache", world.folder / "zarr", "--dry-run"),
        *("--recipe", "probe.map3", "--out", tmp_path),
        WINDOW="150000",
    )
    assert "NOTE: " in done.stderr and "33% of the classes" in done.stderr
    assert "--format webdataset" in done.stderr


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
    untouched = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path != hit}
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
    assert ", 1 to make" in done.stdout
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


# ---- bad input


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


def test_logits_alone(world: World, tmp_path: Path) -> None:
    """A cache of one kind; what it lacks is added beside it."""
    world.make(tmp_path, "--targets", "logits", "--codec", "exact")
    opened = open_cache(tmp_path, "train")
    assert opened.manifest.targets == ("logits",)
    assert not (tmp_path / "train" / "targets.zarr" / "channels").exists()
    assert world.verify(tmp_path).stdout.endswith("verified\n")
    world.make(tmp_path, "--targets", "embedding,channels", "--codec", "exact")
    assert open_cache(tmp_path, "train").manifest.layers == ("", "channels")
    assert world.verify(tmp_path).stdout.endswith("verified\n")


def test_an_unknown_kind_in_a_manifest_is_one_line(world: World) -> None:
    """What a later version, or somebody's own code, has added."""
    cache = world.whole("zarr")
    done = run("precompute/verify.py", "--cache", cache, check=False)  # without energy's entry
    require_refused(done, "there is no kind of targets called 'energy'")
