"""Kinds of targets that are added to a cache: each is a layer with files and receipts of its own.

Through the commands, with a kind, a loss and recipes from outside (tests/outside.py) among them.
"""

from pathlib import Path

import pytest
import torch

from shared.store.opening import open_cache
from tests.helpers import run, snapshot
from tests.layers import BLOCKS, EXTRA, LAYERS, VIEWS, World, every_format, known_here, world
from tests.outside import PROBED

__all__ = ["known_here", "world"]  # fixtures of the tests below


@every_format
def test_a_kind_that_is_added_touches_nothing_and_has_the_bytes_of_one_from_the_start(
    world: World, tmp_path: Path, store: str
) -> None:
    flags = ("--codec", "exact", "--format", store)
    world.make(tmp_path, *flags)
    before = snapshot(tmp_path)
    done = world.make(tmp_path, *flags, "--targets", "attention3")
    assert f"blocks are there, attention3 to add to {VIEWS * BLOCKS}," in done.stdout
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


def test_a_run_is_told_of_batches_with_few_classes(world: World, tmp_path: Path) -> None:
    done = run(
        *("tests/outside.py", "train/run.py", "--cache", world.folder / "zarr", "--dry-run"),
        *("--recipe", "probe.map3", "--out", tmp_path),
        WINDOW="150000",
    )
    assert (
        "NOTE: " in done.stderr and "of the classes that one of a full shuffle has" in done.stderr
    )
    assert "--format webdataset" in done.stderr


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
