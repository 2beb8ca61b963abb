"""A cache that is damaged or lacks something: training refuses it, precompute makes it whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import require_refused, snapshot
from tests.refusals import CD, KD, World
from train.run_files import read_metrics


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


@pytest.mark.parametrize(
    ("damage", "flags", "named"),
    [
        (flip_bit, ("--check",), " with --check, or precompute/verify.py with --repair, it makes"),
        (truncate, (), ", it makes the block again"),
    ],
)
def test_a_damaged_block_is_refused_and_made_again(
    spare: World,
    tmp_path: Path,
    damage: Callable[[Path], None],
    flags: tuple[str, ...],
    named: str,
) -> None:
    """By the command that the message names."""
    whole = snapshot(spare.cache)
    path = spare.cache / "train/targets.zarr/channels/c/0/1/0"
    damage(path)
    require_refused(
        spare.train(tmp_path / "out"),
        f"{path} is damaged: it has ",
        f"; run the same precompute/run.py command again{named}",
    )
    assert "5 of 6 blocks are there" in spare.precompute(*flags, check=True).stdout
    assert snapshot(spare.cache) == whole


def test_without_check_a_run_compares_no_hashes(spare: World) -> None:
    path = spare.cache / "train/targets.zarr/channels/c/0/1/0"
    flip_bit(path)
    assert "6 of 6 blocks are there, 0 to make" in spare.precompute(check=True).stdout
    assert "5 of 6 blocks are there, 1 to make" in spare.precompute("--check", check=True).stdout


def test_epochs_before_a_damaged_view_are_kept(spare: World, tmp_path: Path) -> None:
    flip_bit(spare.cache / "train/targets.zarr/channels/c/1/1/0")
    require_refused(
        spare.train(tmp_path / "out", "--epochs", 2), "channels/c/1/1/0 is damaged: it has "
    )
    assert [record["epoch"] for record in read_metrics(tmp_path / "out")] == [0, 0]
    spare.precompute("--check", check=True)
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
