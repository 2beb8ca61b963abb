"""An ImageFolder as a source: torchvision's order, and a digest that means something."""

import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from shared.images import source as images
from shared.images.listing import EXTENSIONS, Keys
from shared.images.source import ImageSource, default_source, open_source
from tests.image_trees import FILES, KEYS, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


def test_order_is_torchvisions(root: Path) -> None:
    visible = {name: data for name, data in FILES.items() if "/." not in name}
    reference = ImageFolder(write(root.parent / "visible", visible) / "train")
    expected = [Path(path).relative_to(reference.root).as_posix() for path, _ in reference.samples]
    source = open_source(str(root), "train")
    assert sorted(expected) == sorted(KEYS)
    assert list(source.keys) == expected
    assert source.labels.tolist() == [label for _, label in reference.samples]
    assert source.labels.dtype == np.int64
    assert list(source.classes) == reference.classes
    assert EXTENSIONS == IMG_EXTENSIONS


def test_a_source_says_what_it_is(root: Path) -> None:
    source = open_source(str(root), "train")
    assert (source.spec, source.split) == (str(root), "train")
    assert (source.policy, source.size) == (None, None)
    assert len(source) == len(source.keys) == len(KEYS)
    assert [source.read(i) for i in range(len(source))] == [
        FILES[f"train/{k}"] for k in source.keys
    ]


def test_links_are_followed(root: Path) -> None:
    linked = root.parent / "linked"
    (linked / "train").mkdir(parents=True)
    for name in ("Dog", "cat", "élan"):
        (linked / "train" / name).symlink_to(root / "train" / name)
    (linked / "train" / "Dog" / "3.jpg").symlink_to(root / "train" / "cat" / "b.jpg")
    assert list(open_source(str(linked), "train").keys)[:4] == [*KEYS[:3], "Dog/3.jpg"]


def test_a_relative_folder_is_found_from_elsewhere_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    source = open_source("root", "val")
    monkeypatch.chdir("/")
    assert source.read(0) == b"v"


def test_keys_are_a_sequence() -> None:
    names = ["a", "ü/b", "line\nfeed", os.fsdecode(b"\xff")]
    keys = Keys.pack(names)
    assert [keys[i] for i in range(4)] == list(keys) == names
    assert keys[-1] == names[-1]
    with pytest.raises(IndexError):
        keys[4]
    assert len(Keys.pack([])) == 0


def test_digest_bytes_are_as_documented(root: Path) -> None:
    source = open_source(str(root), "train")
    text = "classes\0Dog\0cat\0élan\n" + "".join(
        f"{key}\0{label}\0{len(FILES[f'train/{key}'])}\n"
        for key, label in zip(source.keys, source.labels, strict=True)
    )
    assert source.digest == sha256(text.encode()).hexdigest()
    assert source.digest == "32cb2c238043ce1ef2a3cbb5ea1e7573bedd89dfce3c404645312b9ecc7a0341"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda train: None, True),
        (lambda train: (train / "cat/b.jpg").write_bytes(b"two"), True),  # pixels are not read
        (lambda train: (train / "cat/readme.txt").write_bytes(b"longer than it was"), True),
        (lambda train: (train / "cat/b.jpg").write_bytes(b"four"), False),
        (lambda train: (train / "cat/b.jpg").rename(train / "cat/bb.jpg"), False),
        (lambda train: (train / "cat/b.jpg").rename(train / "Dog/b.jpg"), False),
        (lambda train: (train / "cat/b.jpg").unlink(), False),
        (lambda train: (train / "cat").rename(train / "cats"), False),
        (lambda train: write(train, {"Aardvark/a.jpg": b"a"}), False),  # moves every label
    ],
)
def test_digest_changes_with_key_label_and_size(
    root: Path, change: Callable[[Path], object], same: bool
) -> None:
    before = open_source(str(root), "train").digest
    moved = root.rename(root.parent / "elsewhere")  # the place is no part of it
    change(moved / "train")
    assert (open_source(str(moved), "train").digest == before) == same


def test_limit_keeps_evenly_spaced_samples(root: Path) -> None:
    whole = open_source(str(root), "train")
    kept = open_source(str(root), "train", limit=4)
    assert list(kept.keys) == [KEYS[i] for i in (0, 2, 5, 7)]
    assert kept.labels.tolist() == [whole.labels[i] for i in (0, 2, 5, 7)]
    assert kept.classes == whole.classes
    assert kept.read(1) == b"123"
    assert kept.digest != whole.digest
    for limit in (len(KEYS), 1000):
        assert open_source(str(root), "train", limit=limit).digest == whole.digest


def test_pickle_carries_everything_and_little(root: Path) -> None:
    source = open_source(str(root), "train")
    copy = pickle.loads(pickle.dumps(source))
    assert isinstance(copy, ImageSource)
    assert list(copy.keys) == list(source.keys)
    assert copy.labels.tolist() == source.labels.tolist()
    assert (copy.digest, copy.classes, copy.size) == (source.digest, source.classes, source.size)
    assert copy.read(3) == source.read(3)
    names = [f"n{i // 1300:08d}/n{i // 1300:08d}_{i}.JPEG" for i in range(20_000)]
    assert len(pickle.dumps(Keys.pack(names))) < 45 * len(names)  # 29 bytes a key, 8 for its place


def test_default_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(__file__).parents[1] / "data" == images.DATA
    monkeypatch.setattr(images, "DATA", tmp_path)
    assert default_source() == "digits"
    (tmp_path / "imagenet").mkdir()
    assert default_source() == str(tmp_path / "imagenet")
