"""A listing is made once, believed only while it is true, and never when it is damaged."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.errors import InputError
from shared.images import kept_listing
from shared.images import source as images
from shared.images.kept_listing import Stamps
from shared.images.listing import Listing
from shared.images.source import ImageSource, open_source
from tests.image_trees import write

FILES = {f"train/{name}/{i}.jpg": b"x" * (i + 1) for name in ("ant", "bee") for i in range(5)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")
    monkeypatch.setattr(kept_listing, "FEWEST", 1)
    return write(tmp_path / "root", FILES)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever a folder is listed."""
    calls: list[str] = []
    list_folder = images.list_folder

    def count(root: Path, split: str, stamps: Stamps) -> Listing:
        calls.append(split)
        return list_folder(root, split, stamps)

    monkeypatch.setattr(images, "list_folder", count)
    return calls


def kept(root: Path) -> Path:
    (path,) = (root.parent / "data/.listings").iterdir()  # no lock is left
    return path


def same(one: ImageSource, other: ImageSource) -> bool:
    return (one.digest, one.classes, list(one.keys), one.labels.tolist()) == (
        other.digest,
        other.classes,
        list(other.keys),
        other.labels.tolist(),
    )


def test_the_second_time_is_read(root: Path, made: list[str]) -> None:
    first, second = (open_source(str(root), "train") for _ in range(2))
    assert made == ["train"] and same(first, second)
    assert [second.read(i) for i in range(10)] == [first.read(i) for i in range(10)]
    assert second.labels.dtype == np.int64
    limited = open_source(str(root), "train", limit=3)  # of what is kept
    assert made == ["train"] and list(limited.keys) == ["ant/0.jpg", "ant/3.jpg", "bee/1.jpg"]
    assert [limited.read(i) for i in range(3)] == [b"x", b"xxxx", b"xx"]


def test_few_files_are_listed_every_time(
    root: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_listing, "FEWEST", 11)
    for _ in range(2):
        open_source(str(root), "train")
    assert made == ["train", "train"] and not [*(root.parent / "data/.listings").iterdir()]


@pytest.mark.parametrize(
    "change",
    [
        lambda train: (train / "ant/6.jpg").write_bytes(b""),
        lambda train: (train / "ant/4.jpg").unlink(),
        lambda train: (train / "ant/4.jpg").rename(train / "bee/5.jpg"),
        lambda train: (train / "bee").rename(train / "cat"),
        lambda train: write(train, {"cat/0.jpg": b"x"}),
        lambda train: write(train, {"bee/deep/0.jpg": b"x"}),
        lambda train: (train / "bee/2.jpg").write_bytes(b"replaced in place"),
    ],
)
def test_a_change_is_noticed(root: Path, made: list[str], change: Callable[[Path], object]) -> None:
    before = open_source(str(root), "train")
    change(root / "train")
    after, again = (open_source(str(root), "train") for _ in range(2))
    assert made == ["train", "train"] and not same(before, after) and same(after, again)


def test_one_replaced_file_among_many_is_missed(
    root: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of what is promised: sizes are compared for some files only."""
    monkeypatch.setattr(kept_listing, "SAMPLED", 2)
    open_source(str(root), "train")
    (root / "train/ant/1.jpg").write_bytes(b"replaced in place")
    open_source(str(root), "train")
    assert made == ["train"]
    (root / "train/bee/0.jpg").write_bytes(b"replaced in place")  # the sixth of ten
    open_source(str(root), "train")
    assert made == ["train", "train"]


def test_a_file_that_is_gone_is_noticed_by_its_folder_or_its_size(
    root: Path, made: list[str]
) -> None:
    open_source(str(root), "train")
    folder = root / "train/ant"
    time = folder.stat().st_mtime_ns
    (folder / "0.jpg").unlink()
    os.utime(folder, ns=(time, time))
    assert len(open_source(str(root), "train")) == 9 and made == ["train", "train"]


def test_splits_and_folders_are_kept_apart(root: Path, made: list[str]) -> None:
    write(root, {"val/ant/v.jpg": b"v", "val/bee/v.jpg": b"v"})
    other = write(root.parent / "other", {"train/ant/0.jpg": b"x"})
    for folder, split, count in [(root, "train", 10), (root, "val", 2), (other, "train", 1)] * 2:
        assert len(open_source(str(folder), split)) == count
    assert made == ["train", "val", "train"]


def test_damage_anywhere_is_one_note_and_a_new_listing(
    root: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = open_source(str(root), "train")
    path = kept(root)
    sound = path.read_bytes()
    places = [*range(0, len(sound), 97), len(sound) - 1]
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        made.clear()
        assert same(open_source(str(root), "train"), first) and made == ["train"]
        note = f"NOTE: the kept listing {path} is damaged: the source is listed again\n"
        assert capsys.readouterr().err == note, place
        assert path.read_bytes() == sound
    for cut in (0, 10, 40, len(sound) - 1):
        path.write_bytes(sound[:cut])
        assert same(open_source(str(root), "train"), first)
        assert "is damaged" in capsys.readouterr().err


def test_another_version_is_made_anew(
    root: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    open_source(str(root), "train")
    sound = kept(root).read_bytes()
    kept(root).write_bytes(sound.replace(b"listing 1\n", b"listing 2\n", 1))
    open_source(str(root), "train")
    assert made == ["train", "train"] and capsys.readouterr().err == ""
    assert kept(root).read_bytes() == sound


def test_where_nothing_can_be_written_it_goes_on(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root.parent / "data").write_text("a file in the way")
    assert len(open_source(str(root), "train")) == 10
    err = capsys.readouterr().err
    assert err.startswith(f"NOTE: the listing of the folder {root}/train is not kept: ")
    assert err.count("\n") == 1


def test_a_folder_that_cannot_be_asked_is_an_error(root: Path) -> None:
    open_source(str(root), "train")
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root / "train/ant").chmod(0)
    try:
        with pytest.raises(InputError, match="ant cannot be read: Permission denied"):
            open_source(str(root), "train")
    finally:
        (root / "train/ant").chmod(stat.S_IRWXU)
