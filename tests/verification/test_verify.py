"""verify.py on what is good, with exit code 0, and on wrong input, with exit code 2."""

from pathlib import Path

import pytest

from shared.store.opening import Cache
from shared.targets.codecs import CODECS
from tests.helpers import require_refused, snapshot, write_teacher
from tests.verified import CLASSES, World, verify

MADE = [*(("zarr", codec) for codec in CODECS), ("webdataset", "half")]


@pytest.mark.parametrize(("store", "codec"), MADE)
def test_a_good_cache_passes(world: World, tmp_path: Path, store: str, codec: str) -> None:
    cache = tmp_path / "cache"
    world.precompute(cache, "--format", store, "--codec", codec)
    before = snapshot(cache)
    done = verify(cache, "--samples", 20)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert "integrity: 6 of 6 blocks intact, 20 samples x 2 views" in lines
    assert any(line.startswith("pixels: ") and "all equal" in line for line in lines)
    assert "cached against live: 20 views, 0 of which the live argmax differs" in lines
    assert lines[-1] == f"{cache}/train: verified"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[0] == "|"]
    assert rows[0] == [
        *("field", "max error", "relative", "beyond bound", "wrong view: relative, beyond")
    ]
    assert [row[0] for row in rows[2:]] == [
        *("logits", "channels, stage 1", "channels, stage 2", "channels, stage 3"),
    ]
    for _, largest, relative, beyond, wrong in rows[2:]:
        assert (float(largest) == 0) == (float(relative) == 0) == (codec == "exact")
        assert beyond == "0 of 20"
        worse, caught = wrong.split(", ")
        assert float(worse) > 10 * float(relative) and int(caught.split()[0]) > 0
    assert snapshot(cache) == before


def test_a_cache_of_centre_views_passes(world: World, tmp_path: Path) -> None:
    """No flips, one view: a block's flip array is all zeros, which zarr would leave out."""
    world.precompute(tmp_path, "--policy", "center", "--views", 1)
    done = verify(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    assert "cached against live: 20 views, 0 of which" in done.stdout


@pytest.mark.parametrize(("asked", "compared"), [(3, 3), (1000, 40)])
def test_so_many_views_are_compared(world: World, asked: int, compared: int) -> None:
    done = verify(world.cache, "--samples", asked)
    assert done.returncode == 0
    assert f"cached against live: {compared} views, 0 of which" in done.stdout


def test_without_samples_only_the_files_are_checked(world: World, spare: Cache) -> None:
    done = verify(spare.files.root.parent, "--samples", 0)
    assert done.returncode == 0 and "live" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.endswith(": intact; not compared with the teacher (--samples 0)")
    assert "verified" not in done.stdout


def test_other_batches_are_said(world: World, tmp_path: Path) -> None:
    """By precompute when it ends, and by verify; the cache is good."""
    world.precompute(tmp_path)
    assert "made in" not in world.precompute(tmp_path).stderr
    (tmp_path / "train/receipts/v0001-b000002.json").unlink()
    for done in (world.precompute(tmp_path, "--batch-size", 3), verify(tmp_path)):
        assert done.returncode == 0
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("NOTE: ")]
        assert "were made in 2 different ways" in line and "5 blocks by cpu, torch " in line
        assert "batches of 7; 1 blocks by cpu" in line and line.endswith("batches of 3")


def test_other_weights_are_refused(world: World, tmp_path: Path) -> None:
    write_teacher(tmp_path / "other.pt", "cifar_resnet20", CLASSES, seed=1)
    done = verify(world.cache, "--weights", tmp_path / "other.pt")
    require_refused(done, f"{tmp_path}/other.pt is not the cached teacher: ")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--cache", "nowhere"), "--cache must hold train/manifest.json: nowhere does not"),
        (("--split", "val"), "--cache must hold val/manifest.json"),
        (("--samples", -1), "--samples must be 0 or more: got -1"),
        (("--images", "nowhere"), "got nowhere: no such folder"),
        (
            ("--weights", "nowhere.pt"),
            "must be a file for cifar_resnet20: there is no 'nowhere.pt'",
        ),
    ],
)
def test_flags_that_cannot_be_used(world: World, flags: tuple[object, ...], part: str) -> None:
    require_refused(verify(world.cache, *flags), part)
