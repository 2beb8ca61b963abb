"""verify.py names every damaged file, and with --repair makes the same bytes again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.opening import Cache, open_cache
from tests.helpers import snapshot
from tests.verified import World, require_failed, verify


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "bit of targets": (
        "targets.zarr/channels/c/1/2/0",
        flip_bit,
        "channels/c/1/2/0 is damaged: it has ",
    ),
    "bit of boxes": ("targets.zarr/box/c/0/1/0", flip_bit, "box/c/0/1/0 is damaged: it has "),
    "short file": ("targets.zarr/logits/c/0/0/0", truncate, "logits/c/0/0/0 is damaged: it has "),
    "lost file": ("targets.zarr/pred/c/1/0", Path.unlink, "pred/c/1/0 is missing"),
    "lost receipt": ("receipts/v0001-b000001.json", Path.unlink, "block 1 of view 1 is missing"),
    "bit of receipt": ("receipts/v0001-b000001.json", flip_bit, "v0001-b000001.json is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(spare: Cache, damage: str) -> None:
    root = spare.files.root
    path, spoil, named = DAMAGES[damage]
    spoil(root / path)
    damaged = snapshot(root)
    done = verify(root.parent)
    require_failed(done, named)
    assert "integrity: 5 of 6 blocks intact" in done.stdout
    assert len(done.stderr.splitlines()) == 1 and "live" not in done.stdout
    assert snapshot(root) == damaged


def test_every_damaged_block_is_named_and_repaired(spare: Cache) -> None:
    root = spare.files.root
    whole = snapshot(root)
    for path, spoil, _ in DAMAGES.values():
        if (root / path).exists():
            spoil(root / path)
    names = [
        "channels/c/1/2/0 is damaged: it has ",
        "box/c/0/1/0 is damaged: it has ",
        "logits/c/0/0/0 is damaged: it has ",
    ]
    names += ["pred/c/1/0 is missing", "block 1 of view 1 is missing"]
    done = verify(root.parent)
    require_failed(done, *names)
    assert "integrity: 1 of 6 blocks intact" in done.stdout

    done = verify(root.parent, "--repair")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"{root}: verified" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 5 and all(line.startswith("repairing: ") for line in lines)
    assert all(any(name in line for line in lines) for name in names)
    assert snapshot(root) == whole


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_added_kinds_are_verified_and_repaired(world: World, tmp_path: Path, store: str) -> None:
    """Added to a cache that is there; a layer that is damaged is made again, and nothing else."""
    world.precompute(tmp_path, "--format", store)
    before = snapshot(tmp_path)
    world.precompute(tmp_path, "--format", store, "--targets", "attention3,grid4")
    whole = snapshot(tmp_path)
    assert {path for path in before if whole[path] != before[path]} == {"train/manifest.json"}
    done = verify(tmp_path, "--samples", 20)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert "integrity: 18 of 18 blocks intact, 20 samples x 2 views x 3 layers" in lines
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[0] == "|"]
    assert {"attention3", "grid4", "logits", "channels, stage 3"} <= {row[0] for row in rows}
    for _, _, relative, beyond, wrong in rows[2:]:
        assert beyond == "0 of 20"
        assert float(wrong.split(", ")[0]) > 10 * float(relative)

    receipt = open_cache(tmp_path, "train").receipt(1, 2, "grid4")
    (path,) = receipt.files
    flip_bit(tmp_path / "train" / path)
    lost = "train/receipts/v0000-b000001.attention3.json"
    (tmp_path / lost).unlink()
    done = verify(tmp_path)
    require_failed(
        done, f"{path} is damaged: it has ", "block 1 of view 0 of attention3 is missing"
    )
    assert "integrity: 16 of 18 blocks intact" in done.stdout
    done = verify(tmp_path, "--repair")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 2
    assert snapshot(tmp_path) == whole
