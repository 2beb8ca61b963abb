"""WebDataset tars in a folder as a source: what webdataset reads, at random."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader
from webdataset.tariterators import group_by_keys, tar_file_iterator

from shared.images import source as images
from shared.images.source import open_source
from shared.images.tar_patterns import folder_shards, pattern_shards
from tests import helpers
from tests.tars import Bytes, write_shards, write_tar

assert helpers  # its server of processes has imported torch already: seconds each


def reference(folder: Path, split: str) -> tuple[list[str], list[bytes], list[int]]:
    """As webdataset reads it."""
    keys, data, labels = [], [], []
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with path.open("rb") as file:  # webdataset.WebDataset leaves its files open
            for sample in group_by_keys(
                {**part, "__url__": ""} for part in tar_file_iterator(file)
            ):
                keys.append(sample["__key__"])
                data.append(next(sample[x] for x in ("jpg", "jpeg", "png") if x in sample))
                label = sample.get("cls") or str(json.loads(sample["json"])["label"])
                labels.append(int(label))
    return keys, data, labels


def test_it_is_what_webdataset_reads(folder: Path) -> None:
    write_shards(folder, "val", 2)
    for split, count in (("train", 12), ("val", 8)):
        source = open_source(str(folder), split)
        keys, data, labels = reference(folder, split)
        assert list(source.keys) == keys and source.labels.tolist() == labels
        assert [source.read(i) for i in range(len(source))] == data
        assert len(source) == count and source.classes == ("ant", "bee", "cat")
        assert (source.policy, source.size) == (None, None)


@pytest.mark.parametrize(
    "pattern",
    [
        "{{split}}-{{0000..0002}}.tar",
        "train-{{0000..0002}}.tar",
        "{{train-{{0000..0002}},val-0000}}.tar",
        "{{split}}-000{{0,1,2}}.tar",
    ],
)
def test_patterns(folder: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_source(str(folder), "train")
    pattern = pattern.format()
    assert open_source(f"{folder}/{pattern}", "train").digest == whole.digest
    monkeypatch.chdir(folder)
    source = open_source(pattern, "train")
    monkeypatch.chdir("/")
    assert source.read(11) == whole.read(11)


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["train-0.tar", "val-0.tar"], "train", ["train-0.tar"]),
        (["imagenet1k-train-0.tar", "imagenet1k-validation-0.tar"], "val", [1]),
        (["training.tar", "x.train.tar"], "train", ["x.train.tar"]),
        (["a_val_1.tar", "a_val_0.tar", ".tmp~a~val.tar"], "val", ["a_val_0.tar", "a_val_1.tar"]),
        (["trainer-val-0.tar"], "train", []),
    ],
)
def test_the_split_is_a_word_of_the_name(
    tmp_path: Path, names: list[str], split: str, expected: list[str | int]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    wanted = [names[name] if isinstance(name, int) else name for name in expected]
    assert folder_shards(tmp_path, split) == [str(tmp_path / name) for name in wanted]


def test_the_split_may_be_the_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_shards(tmp_path / split, "part", 1)
    spec = f"{tmp_path}/{{train,val}}/part-0000.tar"
    assert pattern_shards(spec, "val") == [f"{tmp_path}/val/part-0000.tar"]
    assert len(open_source(f"{tmp_path}/{{split}}/part-0000.tar", "train")) == 4


def test_limit_pickle_and_take(folder: Path) -> None:
    whole = open_source(str(folder), "train")
    limited = open_source(str(folder), "train", limit=5)
    copy = pickle.loads(pickle.dumps(limited))
    index = [i * 12 // 5 for i in range(5)]
    assert [copy.read(i) for i in range(5)] == [whole.read(i) for i in index]
    assert list(limited.keys) == [whole.keys[i] for i in index]
    part = whole.reader.take(np.array([7, 3]))
    assert [part.read(0), part.read(1)] == [whole.read(7), whole.read(3)]


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("forkserver", 1)])
def test_loader_workers_read_the_same(folder: Path, context: str, workers: int) -> None:
    source = open_source(str(folder), "train")
    expected = [source.read(i) for i in range(12)]  # the parent has read before it forks
    loader = DataLoader(
        Bytes(source),
        batch_size=None,
        sampler=range(12),
        num_workers=workers,
        multiprocessing_context=context,
    )
    assert list(loader) == expected


def test_a_kept_listing_is_true_to_size_and_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.images.kept_listing.FEWEST", 1)
    first = open_source(str(folder), "train")
    opened = []
    monkeypatch.setattr("shared.images.tars.open_ranges", lambda path: opened.append(path))
    second = open_source(str(folder), "train")
    assert (second.digest, second.read(5), opened) == (first.digest, first.read(5), [])
    monkeypatch.undo()
    monkeypatch.setattr(images, "DATA", folder.parent / "data")
    write_tar(folder / "train-0001.tar", {"x.jpg": b"x", "x.cls": b"2"})
    assert len(open_source(str(folder), "train")) == 9
    (folder / "classes.txt").unlink()
    assert open_source(str(folder), "train").classes == ("0", "1", "2")


def test_class_names(folder: Path) -> None:
    for path in folder.glob("*.tar"):
        path.unlink()
    samples = {"a.jpg": b"", "a.json": b'{"class": "bee"}', "b.jpg": b"", "b.json": b'{"cls": 2}'}
    write_tar(folder / "train-0.tar", samples)
    assert open_source(str(folder), "train").labels.tolist() == [1, 2]
    (folder / "classes.txt").unlink()
    (folder / "classes.json").write_text('["bee", "x", "y"]')
    source = open_source(str(folder), "train")
    assert source.labels.tolist() == [0, 2] and source.classes == ("bee", "x", "y")
