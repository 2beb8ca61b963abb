"""Samples, labels, patterns and tars that cannot be used: one line that names them."""

from pathlib import Path

import pytest

from shared.errors import InputError
from shared.images.source import open_source
from tests.tars import CLASSES, ONE, write_tar

RULE = ": it must hold one image (jpg, jpeg, png) and its label (cls or json)"
LABEL = " is not a label: it must be an integer in cls, or json with "
CLASS = " is not one of the classes beside the first tar (the 3 of classes.txt), tars from "


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"a.jpg": b""}, "the sample a in {tar} holds jpg" + RULE),
        ({"b.cls": b"0", **ONE}, "the sample b in {tar} holds cls" + RULE),
        ({**ONE, "a.png": b""}, "the sample a in {tar} holds jpg, cls, png" + RULE),
        ({"README": b"", **ONE}, "the sample README in {tar} holds " + RULE),
        ({"a.jpg": b"", "a.cls": b"one"}, "b'one' in a.cls of {tar}" + LABEL),
        (
            {"a.jpg": b"", "a.json": b'{"label": true}'},
            "b'{{\"label\": true}}' in a.json of {tar}" + LABEL,
        ),
        ({"a.jpg": b"", "a.json": b"[1]"}, "b'[1]' in a.json of {tar}" + LABEL),
        ({"a.jpg": b"", "a.cls": b"3"}, "the label 3 of a" + CLASS),
        ({"a.jpg": b"", "a.cls": b"-1"}, "the label -1 of a" + CLASS),
        (
            {"a.jpg": b"", "a.json": b'{"class": "dog"}'},
            "the label 'dog' of a" + CLASS,
        ),
        ({}, "the tars of the split hold no images: {tar}"),
    ],
)
def test_errors_of_samples(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    tar = tmp_path / "train-0.tar"
    write_tar(tar, files)
    (tmp_path / "classes.txt").write_bytes(CLASSES)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path), "train")
    assert str(caught.value).startswith(text.format(tar=tar)) and "\n" not in str(caught.value)


def test_errors_of_class_files(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {"a.jpg": b"", "a.json": b'{"class": "dog"}'})
    with pytest.raises(
        InputError, match=r"^the label 'dog' of a is .* \(there is no classes.txt\)"
    ):
        open_source(str(tmp_path), "train")
    for text in ("{}", "[1]", "nonsense"):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(InputError, match=r"classes.json is not a list of names: write one"):
            open_source(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("spec", "split", "text"),
    [
        ("{root}/train-{{0000..0004}}.tar", "train", "2 of the 5 tars of the pattern "
         "{root}/train-{{0000..0004}}.tar do not exist, first {root}/train-0003.tar: correct the "),
        ("{root}/train-{{0000..0002}}.tar", "val", "{root}/train-{{0000..0002}}.tar names no tars "
         "of val: a pattern names those of each split, like DIR/{{split}}-{{000..099}}.tar or "
         "DIR/{{train-{{000..099}},val-{{00..07}}}}.tar"),
        ("{root}/train-{{0..1.tar", "train", "--images {root}/train-{{0..1.tar has braces that do "
         "not come in pairs, or more than 50 deep: close each {{ with a }}"),
        ("http://host/train", "train", "http://host/train names no tars of train: a pattern "),
        ("{root}", "val", "--split must be a folder in {root}, got val: found no folders; no tars "
         "of val among its files"),
    ],
)  # fmt: skip
def test_errors_of_patterns(folder: Path, spec: str, split: str, text: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(spec.format(root=folder), split)
    assert str(caught.value).startswith(text.format(root=folder))


@pytest.mark.parametrize("cut", [0, 700, -5000])
def test_a_damaged_tar(folder: Path, cut: int) -> None:
    path = folder / "train-0001.tar"
    data = path.read_bytes()
    if cut > 0:  # a header
        path.write_bytes(data[:1536] + b"\1" + data[1537:])
    else:
        path.write_bytes(data[:cut] if cut else b"")
    if cut < 0:  # within the padding at the end nothing is lost; cut into the last image
        end = data.rindex(b"train 1 ccc")
        path.write_bytes(data[: end - 100])
    with pytest.raises(InputError, match=f"^{path} is not a sound, uncompressed tar: "):
        open_source(str(folder), "train")
