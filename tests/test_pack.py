"""Packing keeps order, labels and classes, and is the same bytes whoever makes them and how often
they are stopped."""

import signal
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from precompute.pack_shard import packed_key
from shared.images.source import open_source
from shared.pixels.decode import decode
from tests.helpers import (
    require_refused,
    run,
    snapshot,
    start,
    start_halting,
    wait_until,
    write_image_folder,
)

PACK = "precompute/pack.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes, 7 train and 2 val images each, 36 to 60 pixels."""
    root = tmp_path_factory.mktemp("pack") / "images"
    write_image_folder(root, classes=3, train=7, val=2)
    (root / "train/class1/000.jpg").rename(root / "train/class1/0.a.b.jpg")
    path = root / "train/class2/003.jpg"
    Image.open(path).save(path.with_suffix(".png"))
    path.unlink()
    return root


def flags(root: Path, to: Path, workers: int = 0) -> list[object]:
    return ["--images", root, "--split", "train", "--to", to, "--shorter-side", 40,
            "--shard-size", 4, "--workers", workers]  # fmt: skip


@pytest.fixture(scope="module")
def packed(root: Path) -> Path:
    to = root.parent / "packed"
    done = run(PACK, *flags(root, to))
    assert done.stdout.startswith("done: 21 images in 6 tars, ") and done.stderr == ""
    return to


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def test_a_packed_source_is_a_source(root: Path, packed: Path) -> None:
    before, after = open_source(str(root), "train"), open_source(str(packed), "train")
    assert list(after.keys) == [packed_key(key) for key in before.keys]
    assert "class1/0_a_b" in list(after.keys)
    assert after.labels.tolist() == before.labels.tolist() and after.classes == before.classes
    same = 0
    for index in range(len(before)):
        data, original = after.read(index), before.read(index)
        large, small = decode(original), decode(data)
        if min(large.shape[:2]) <= 40 and original.startswith(b"\xff\xd8"):
            assert data == original
            same += 1
            continue
        assert min(small.shape[:2]) == min(40, min(large.shape[:2]))
        ratio = small.shape[0] / small.shape[1] / (large.shape[0] / large.shape[1])
        assert abs(ratio - 1) < 1 / 40
        assert abs(small.mean() - large.mean()) < 2
    assert 0 < same < len(before)


def test_tars_say_nothing_of_who_made_them(packed: Path) -> None:
    with tarfile.open(packed / "train-000005.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["class2/006.jpg", "class2/006.cls"]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (
            0, 0, 0, "", 0o644,
        )  # fmt: skip
        assert not member.pax_headers
    assert sorted(path.name for path in packed.iterdir())[:2] == [".pack", "classes.txt"]


def test_workers_do_not_change_the_bytes(root: Path, packed: Path, tmp_path: Path) -> None:
    run(PACK, *flags(root, tmp_path / "to", workers=2))
    assert snapshot(tmp_path / "to") == snapshot(packed)


def test_killed_and_started_again(root: Path, packed: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    # Spawned workers are processes of their own, so what halts is the command without any.
    started = start_halting(
        "*/.pack/train-000000.json", 1, tmp_path / "halted", PACK, *flags(root, to, workers=0)
    )
    started.signal(signal.SIGKILL)
    assert started.wait().returncode == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in to.glob(".pack/train-*.json")}
    (to / "train-000000.tar").write_bytes(b"damaged")  # its receipt is there
    run(PACK, *flags(root, to))
    assert snapshot(to) == snapshot(packed)
    for name, then in kept.items():
        now = (to / ".pack" / name).stat().st_mtime_ns
        assert (now == then) == (name != "train-000000.json")


def test_workers_end_with_a_killed_parent(root: Path, tmp_path: Path) -> None:
    started = start(PACK, *flags(root, tmp_path / "to", workers=1))
    # While the worker still starts: that takes it a second, and what it then does only moments.
    wait_until(lambda: len(started.processes()) > 1 or not started.alive)
    started.signal(signal.SIGKILL)
    assert started.wait().returncode == -signal.SIGKILL
    started.require_none_left()


def test_val_goes_beside_train(root: Path, packed: Path, tmp_path: Path) -> None:
    to = tmp_path / "both"
    for split in ("train", "val"):
        run(PACK, "--images", root, "--split", split, "--to", to, "--workers", 0)
    assert (len(open_source(str(to), "train")), len(open_source(str(to), "val"))) == (21, 6)
    assert open_source(str(to), "val").classes == open_source(str(root), "val").classes
    again = tmp_path / "again"  # a packed source can be packed
    run(PACK, "--images", to, "--split", "train", "--to", again, "--workers", 0)
    one, other = open_source(str(to), "train"), open_source(str(again), "train")
    assert one.digest == other.digest


def test_bad_images(root: Path, tmp_path: Path) -> None:
    bad = tmp_path / "images"
    for path in (root / "train").rglob("*.jpg"):
        copy = bad / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes() if path.name != "002.jpg" else b"no image")
    done = run(PACK, *flags(bad, tmp_path / "to"), check=False)
    require_refused(done, "class0/002.jpg in ", " does not decode (", "--skip-bad")
    done = run(PACK, *flags(bad, tmp_path / "to"), "--skip-bad", check=False)
    require_refused(done, "1 of the 20 images in ", "at most 1 % may be bad", "--skip-bad 0.1")
    done = run(PACK, *flags(bad, tmp_path / "to"), "--skip-bad", 0.2)
    assert "17 images in 5 tars" in done.stdout and "3 images skipped" in done.stdout
    assert "  skipped class1/002.jpg: " in done.stdout
    source = open_source(str(tmp_path / "to"), "train")
    assert len(source) == 17 and "class0/002" not in list(source.keys)
    done = run(PACK, *flags(bad, tmp_path / "to"), check=False)  # kept tars do not hide them
    require_refused(done, "class0/002.jpg in ", " does not decode (")


def test_other_settings_are_refused(root: Path, packed: Path) -> None:
    before = snapshot(packed)
    done = run(PACK, *flags(root, packed), "--quality", 91, check=False)
    require_refused(
        done,
        f"other settings are in {packed}/.pack/train.json: ",
        '"quality": 90, now "quality": 91; a folder holds one packing of ',
    )
    assert snapshot(packed) == before


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--quality", 101], "--quality must be 1 to 100: got 101"),
        (["--shard-size", 0], "--shard-size must be 1 to 1,000,000: got 0"),
        (["--shorter-side", 0], "--shorter-side must be 1 to 65,535: got 0"),
        (["--workers", -1], "--workers must be 0 to 1,000: got -1"),
        (["--split", "test"], "got test: found train, val"),
    ],
)
def test_errors(root: Path, tmp_path: Path, extra: list[object], text: str) -> None:
    done = run(PACK, *flags(root, tmp_path / "to"), *extra, check=False)
    require_refused(done, text)
    assert list(tmp_path.iterdir()) == []


def test_names_must_differ(root: Path, tmp_path: Path) -> None:
    data = (root / "val/class0/000.jpg").read_bytes()
    folder = tmp_path / "images/train/a"
    folder.mkdir(parents=True)
    for name in ("x.y.jpg", "x_y.png"):
        (folder / name).write_bytes(data)
    done = run(PACK, *flags(tmp_path / "images", tmp_path / "to"), check=False)
    require_refused(
        done, "a/x.y.jpg and a/x_y.png in ", " would both be packed as a/x_y, ", ": rename one"
    )
    for path in folder.iterdir():
        path.unlink()
    (folder / f"{'x' * 240}.jpg").write_bytes(data)
    done = run(PACK, *flags(tmp_path / "images", tmp_path / "to"), check=False)
    require_refused(done, "a tar takes names of at most 255 bytes")
