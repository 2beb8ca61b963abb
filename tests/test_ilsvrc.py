"""ImageNet's official tars: one digest with the unpacked folders, and damage in one line."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.images.source import open_source
from tests.ilsvrc import TRAIN, VAL, WNIDS, official, require_equal, tar_of, unpacked

__all__ = ["official", "unpacked"]  # fixtures of the tests below


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_official_tars_equal_the_unpacked_folders(
    unpacked: Path, official: Path, split: str
) -> None:
    require_equal(unpacked, official, split)
    source = pickle.loads(pickle.dumps(open_source(str(official), split)))
    key, data = {
        "train": ("n01440764/n01440764_10026.JPEG", TRAIN["n01440764/n01440764_10026.JPEG"]),
        "val": ("n01440764/ILSVRC2012_val_00000002.JPEG", VAL[1].encode()),
    }[split]
    assert (source.keys[0], source.read(0)) == (key, data)


def test_val_alone_has_the_classes_of_its_labels(official: Path) -> None:
    (official / "ILSVRC2012_img_train.tar").unlink()
    assert open_source(str(official), "val").classes == tuple(WNIDS)


def damage_inner(data: bytes) -> bytes:
    """The checksum of the second header in the first inner tar."""
    place = data.index(b"n02084071_9.JPEG")
    return data[: place + 150] + b"9" + data[place + 151 :]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            damage_inner,
            "{path}: n02084071.tar is not a sound, uncompressed tar: no header at byte ",
        ),
        (lambda data: data[:20_000], "{path} is not a sound, uncompressed tar: a member of "),
        (lambda data: b"", "{path} is not a sound, uncompressed tar: it is empty"),
        (lambda data: b"x" * 2000, "{path} is not a sound, uncompressed tar: no header at byte 0"),
    ],
)
def test_a_damaged_archive(official: Path, change: Callable[[bytes], bytes], text: str) -> None:
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        open_source(str(official), "train")
    assert str(caught.value).startswith(text.format(path=path))
    assert "\n" not in str(caught.value)


def test_other_archives_are_refused(official: Path) -> None:
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(tar_of([("a.JPEG", b"")]))
    with pytest.raises(InputError) as caught:
        open_source(str(official), "train")
    assert str(caught.value) == (
        f"there is no tar in {path}: the training archive of ImageNet is a tar of tars, one a class"
    )
    path.write_bytes(tar_of([("n1.tar", tar_of([])), ("n2.tar", tar_of([("a.JPEG", b"")]))]))
    with pytest.raises(InputError, match=r"^1 of 2 classes in .* have no images: n1; an Im"):
        open_source(str(official), "train")


def test_a_tar_that_shrinks_after_it_was_listed(official: Path) -> None:
    source = open_source(str(official), "train")
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        source.read(8)
    assert str(caught.value) == (
        f"{path} is shorter than when it was listed: it ends within sample 8; put it back, or "
        f"start again to have it listed again"
    )
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        source.read(8)
